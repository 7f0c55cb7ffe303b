"""A load shared by several processes: one schedule, one spool, and nothing left when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.measure.client.capture import COMPLETE, SPOOL, Capture
from inferencebench_pipeline.measure.client.pacing import ClosedPacer, OpenPacer, Share, SharedPacer
from inferencebench_pipeline.measure.errors import EngineDiedError, RunDeadlineError, SpecError
from inferencebench_pipeline.measure.run.run import Progress, run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import check_traces, read_traces
from inferencebench_pipeline.runs.run_directory import RunFile
from tests.measure.fake_engine import Behaviour
from tests.measure.support import ignore_progress, measured_rows, spec_for

PACED = Behaviour(ttft_s=0.02, itl_s=0.005)


def test_a_closed_load_keeps_its_concurrency_over_all_processes(fake, run) -> None:
    engine = fake(PACED)
    load = {"kind": "closed", "concurrency": 4, "requests": 22, "warmup_requests": 5}
    rows = measured_rows(spec_for(engine.base_url, load=load, client={"processes": 3}), run)
    phases = [row["phase"] for row in rows]
    assert phases[:27] == ["warmup"] * 5 + ["measured"] * 22
    assert set(phases[27:]) <= {"drained"}
    assert {row["error_class"] for row in rows} == {None}
    assert max(truth.in_flight for truth in engine.truths) == 4
    assert len(engine.truths) == len(rows)
    prompts = [truth.body["messages"][0]["content"] for truth in engine.truths]
    assert len(set(prompts)) == len(prompts)
    table = read_traces(run.file(RunFile.TRACES))
    assert not [flag for flag in check_traces(table) if not flag.ok and flag.severity == "error"]


def test_an_open_load_keeps_its_one_schedule(fake, run) -> None:
    engine = fake(Behaviour(ttft_s=0.3))
    load = {"kind": "open", "rate_per_s": 40, "requests": 16, "process": "constant"}
    spec = spec_for(engine.base_url, load=load, client={"processes": 2})
    rows = measured_rows(spec, run)
    assert [row["scheduled_ns"] for row in rows] == [index * 25_000_000 for index in range(18)]
    assert [row["phase"] for row in rows] == ["warmup"] * 2 + ["measured"] * 16
    assert all(row["sent_ns"] >= row["scheduled_ns"] for row in rows)


def test_what_the_processes_left_is_one_capture(fake, run) -> None:
    load = {"kind": "closed", "concurrency": 2, "requests": 6, "warmup_requests": 0}
    spec = spec_for(fake(PACED).base_url, load=load, client={"processes": 2})
    seen = []
    run_benchmark(spec, run, on_progress=seen.append)
    capture = Capture(run)
    assert capture.loop_facts().processes == 2
    assert not list(capture.path.glob(f"{SPOOL}.part-*"))
    assert seen[-1].done >= 6


def test_an_engine_that_dies_ends_all_processes_with_its_error(fake, run) -> None:
    engine = fake(Behaviour(ttft_s=0.05))
    load = {"kind": "closed", "concurrency": 2, "requests": 5000, "warmup_requests": 0}
    spec = spec_for(engine.base_url, load=load, client={"processes": 2})

    def die_when_measuring(progress: Progress) -> None:
        if progress.done and engine.in_flight:
            engine.die()

    with pytest.raises(EngineDiedError, match="stopped accepting"):
        run_benchmark(spec, run, on_progress=die_when_measuring)
    assert not (Capture(run).path / COMPLETE).exists()
    assert _processes_of(run.run_id) == []


def test_the_run_deadline_ends_all_processes(fake, run) -> None:
    spec = spec_for(
        fake(Behaviour(fault="silent")).base_url,
        load={"kind": "closed", "concurrency": 2, "requests": 4, "warmup_requests": 0},
        client={"processes": 2},
        deadlines={"request_s": 30, "run_s": 1, "engine_start_s": 20},
    )
    with pytest.raises(RunDeadlineError, match=r"deadlines\.run_s = 1 s"):
        run_benchmark(spec, run, on_progress=ignore_progress)
    assert _processes_of(run.run_id) == []


def _processes_of(run_id: str) -> list[str]:
    """Return the command lines of processes that work for a run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text()
        except OSError:
            continue
        if run_id in line:
            found.append(line)
    return found


def test_more_processes_than_streams_are_a_spec_error() -> None:
    with pytest.raises(SpecError, match=r"client\.processes = 2 is more than load\.concurrency"):
        spec_for("http://127.0.0.1:1/v1", client={"processes": 2})


@pytest.mark.parametrize("count", [0, 1, 5, 12, 31])
@pytest.mark.parametrize(("processes", "slots"), [(1, 1), (1, 7), (3, 3), (3, 4), (4, 9)])
def test_every_request_belongs_to_one_share_and_keeps_its_number(count, processes, slots) -> None:
    dealt = []
    for number in range(processes):
        share = Share(number, processes, slots)
        whole = [share.whole_index(own) for own in range(share.of(count))]
        assert [share.own_index(index) for index in whole] == list(range(len(whole)))
        dealt += whole
    assert sorted(dealt) == list(range(count))


def test_a_share_numbers_its_requests_as_the_whole_load_does() -> None:
    offsets = [0, 10, 20, 30, 40]
    share = Share(1, 2, 2)
    own = OpenPacer(offsets[1::2], warmup=share.of(2))
    pacer = SharedPacer(own, share)
    taken = [pacer.take(100), pacer.take(100)]
    assert [(due.index, due.phase, due.scheduled_ns) for due in taken] == [
        (1, "warmup", 10),
        (3, "measured", 30),
    ]
    assert pacer.take(100) is None


def test_a_process_that_is_done_keeps_up_the_load_for_the_others() -> None:
    others_left = [True]
    closed = ClosedPacer(concurrency=1, warmup=0, measured=2, others_measure=lambda: others_left[0])
    for now in range(3):
        due = closed.take(now)
        closed.ended(due.index, due.phase, now)
    assert due.phase == "drained"
    assert closed.next_ns() == 2
    others_left[0] = False
    assert closed.next_ns() is None
