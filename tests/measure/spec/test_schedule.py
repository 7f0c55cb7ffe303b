"""The schedule of a spec: what is refused and where, and that no run knows of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from dagster._utils.schedules import is_valid_cron_schedule
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.schedule import Schedule, shortest_gap_s
from inferencebench_pipeline.measure.spec.spec import spec_json
from inferencebench_pipeline.measure.spec.spec_file import load_plan
from tests.paths import SPECS

QUICK = SPECS / "smollm2-chat-quick.yaml"


def spec_with(tmp_path: Path, schedule: str) -> Path:
    lines = [line for line in QUICK.read_text().splitlines() if not line.startswith("schedule:")]
    path = tmp_path / "spec.yaml"
    path.write_text("\n".join(["# one", *lines, "schedule:", *schedule.splitlines()]) + "\n")
    return path


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ('  cron: "0 2 * *"', "schedule.cron = '0 2 * *': has 4 fields"),
        ('  cron: "60 2 * * *"', "the minute '60' is not from 0 to 59"),
        ('  cron: "0 2 * * funday"', "the day of the week 'funday' is not from 0 to 7"),
        ('  cron: "0 2 30 2 *"', "it would never tick"),
        ('  cron: "0 5-2 * * *"', "names no value"),
        ('  cron: "@daily"', "has 1 fields"),
        ('  cron: "0 2 L * *"', "the day of the month 'L' is not from 1 to 31"),
        ('  cron: "0 2 * * 1#2"', "is neither *, 5, 1-5"),
        ('  cron: "0 2 * * *"\n  timezone: Mars/Olympus', "not an IANA time zone"),
        ('  cron: "0 2 * * *"\n  timezone: ../../etc/passwd', "not an IANA time zone"),
        ('  cron: "*/10 * * * *"\n  jitter_s: 600', "not shorter than the 600 s between"),
        ('  cron: "0 2 * * *"\n  jiter_s: 600', "did you mean jitter_s?"),
        ('  cron: "0 2 * * *"\n  when_busy: wait', "schedule.when_busy = 'wait'"),
        ("  timezone: UTC", "schedule.cron is missing; add it"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, schedule, said):
    path = spec_with(tmp_path, schedule)
    with pytest.raises(SpecError) as caught:
        load_plan(path)
    (problem,) = str(caught.value).splitlines()
    assert said in problem
    number = int(problem.removeprefix(f"{path}:").split(":")[0])
    assert path.read_text().splitlines()[number - 1] in ("schedule:", *schedule.splitlines())


def test_a_schedule_changes_nothing_of_what_is_measured(tmp_path):
    def runs(schedule: str) -> list[bytes]:
        return [spec_json(run) for run in load_plan(spec_with(tmp_path, schedule)).runs]

    nightly = runs('  cron: "0 2 * * *"')
    assert nightly == runs('  cron: "*/5 * * * *"\n  timezone: Asia/Tokyo\n  jitter_s: 60')
    assert b"cron" not in nightly[0]
    without = tmp_path / "without.yaml"
    without.write_text(spec_with(tmp_path, '  cron: "0 2 * * *"').read_text().split("schedule:")[0])
    assert [spec_json(run) for run in load_plan(without).runs] == nightly


@pytest.mark.parametrize(
    ("cron", "gap_s"),
    [
        ("0 2 * * *", 86_400),
        ("*/5 * * * *", 300),
        ("0 23,1 * * *", 7_200),
        ("0 0-6/3 * * mon", 10_800),
    ],
)
def test_the_shortest_gap_is_between_the_closest_times_of_day(cron, gap_s):
    assert shortest_gap_s(cron) == gap_s


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    term = st.one_of(
        st.just("*"),
        number.map(str),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.tuples(pair, st.integers(1, 9)).map(lambda t: f"{t[0][0]}-{t[0][1]}/{t[1]}"),
        st.integers(1, 30).map(lambda step: f"*/{step}"),
    )
    return st.lists(term, min_size=1, max_size=3).map(",".join)


@given(st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6)))
def test_what_is_accepted_here_is_accepted_by_dagster(fields):
    cron = " ".join(fields)
    try:
        Schedule(cron=cron)
    except ValidationError as error:
        assert "it would never tick" in str(error)
    else:
        assert is_valid_cron_schedule(cron)
