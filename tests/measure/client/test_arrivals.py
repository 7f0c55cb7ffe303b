"""Arrival schedules: their statistics, their identity, and schedules that cannot be replayed."""

from __future__ import annotations

import hashlib
import itertools
import math
import statistics

import pytest

from inferencebench_pipeline.measure.client.arrivals import arrival_offsets_ns, schedule_sha256
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.load import ClosedLoad, OpenLoad, ReplayLoad
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.measure.workloads.resolution import resolve
from tests.measure.support import content_of_spec


def gaps_of(load: OpenLoad, seed: int = 42) -> list[int]:
    offsets = arrival_offsets_ns(load, seed)
    return [later - earlier for earlier, later in itertools.pairwise(offsets)]


def gamma(burstiness: float, requests: int = 20_000) -> OpenLoad:
    return OpenLoad(
        kind="open",
        rate_per_s=50,
        requests=requests,
        process="gamma",
        burstiness=burstiness,
        warmup_requests=0,
    )


def test_a_poisson_schedule_is_fixed_by_its_seed() -> None:
    load = OpenLoad(kind="open", rate_per_s=50, requests=2000, warmup_requests=0)
    offsets = arrival_offsets_ns(load, 42)
    assert offsets == arrival_offsets_ns(load, 42) != arrival_offsets_ns(load, 43)
    assert offsets[0] == 0
    assert offsets == sorted(offsets)
    gaps = gaps_of(load)
    assert statistics.mean(gaps) == pytest.approx(20_000_000, rel=0.1)
    assert statistics.stdev(gaps) == pytest.approx(20_000_000, rel=0.1)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_gaps_have_the_rate_and_the_burstiness_that_were_asked_for(burstiness) -> None:
    gaps = [gap / 1e9 for gap in gaps_of(gamma(burstiness))]
    mean, deviation = statistics.fmean(gaps), statistics.pstdev(gaps)
    assert mean == pytest.approx(0.02, rel=0.06)
    assert deviation / mean == pytest.approx(1 / math.sqrt(burstiness), rel=0.06)
    skewness = statistics.fmean(((gap - mean) / deviation) ** 3 for gap in gaps)
    assert skewness == pytest.approx(2 / math.sqrt(burstiness), rel=0.25)


@pytest.mark.parametrize("burstiness", [0.01, 1000.0])
def test_the_most_and_the_least_bursty_schedules_are_drawn(burstiness) -> None:
    assert min(gaps_of(gamma(burstiness, 500))) >= 0


@pytest.mark.parametrize(
    "load",
    [
        {"kind": "open", "rate_per_s": 1, "requests": 1, "process": "gamma"},
        {"kind": "open", "rate_per_s": 1, "requests": 1, "burstiness": 2},
        {"kind": "open", "rate_per_s": 1, "requests": 1, "process": "gamma", "burstiness": -1},
    ],
)
def test_burstiness_is_said_exactly_where_it_means_something(load) -> None:
    with pytest.raises(SpecError, match="burstiness"):
        parse_spec(content_of_spec("http://127.0.0.1:1/v1", load=load), where="x")


def test_the_schedule_hash_never_changes_silently() -> None:
    """A released spec must mean the same arrivals in every version of this package."""
    poisson = OpenLoad(kind="open", rate_per_s=4, requests=10, warmup_requests=2)
    constant = poisson.model_copy(update={"process": "constant"})
    closed = ClosedLoad(kind="closed", concurrency=2, requests=24, warmup_requests=2)
    hashes = [schedule_sha256(load, 42) for load in (poisson, constant, closed)]
    assert hashlib.sha256("".join(hashes).encode()).hexdigest()[:16] == "345974d3b890aacd"
    assert schedule_sha256(gamma(0.5, 10), 42)[:16] == "caa2aaa2fee057f4"


def test_a_recorded_schedule_is_replayed_from_its_first_arrival_at_the_speed_asked_for(
    tmp_path,
) -> None:
    file = tmp_path / "arrivals.txt"
    file.write_text("# seconds\n10\n10.5  # a comment\n\n10.5\n12\n99\n")
    load = ReplayLoad(kind="replay", schedule=str(file), speed=2, requests=3, warmup_requests=1)
    assert arrival_offsets_ns(load, 1) == [0, 250_000_000, 250_000_000, 1_000_000_000]


def test_the_schedule_that_was_replayed_is_recorded_by_its_hash(tmp_path) -> None:
    file = tmp_path / "arrivals.txt"
    file.write_text("0\n1\n2\n")
    load = {"kind": "replay", "schedule": str(file), "requests": 1}
    spec = resolve(parse_spec(content_of_spec("http://127.0.0.1:1/v1", load=load), where="x"))
    assert spec.load.schedule_sha256 == hashlib.sha256(b"0\n1\n2\n").hexdigest()
    file.write_text("0\n1\n3\n")
    with pytest.raises(SpecError, match="schedule_sha256"):
        resolve(spec)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0\n1\n", "holds 2 arrivals"),
        ("0\n2\n1\n", "goes back in time"),
        ("0\n1\nsoon\n", "line 3 .*soon"),
        ("0\n-1\n5\n", "line 2 "),
        ("0\nnan\n5\n", "line 2 "),
        ("0\n1e9\n5e9\n", "line 2 .*week"),
        (b"\xff\xfe\n", "line 1 "),
    ],
)
def test_a_file_that_is_no_schedule_is_a_spec_error(tmp_path, text, said) -> None:
    file = tmp_path / "arrivals.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    load = ReplayLoad(kind="replay", schedule=str(file), requests=3, warmup_requests=0)
    with pytest.raises(SpecError, match=said):
        arrival_offsets_ns(load, 1)


def test_a_missing_schedule_is_an_error_and_never_another_one(tmp_path) -> None:
    load = ReplayLoad(kind="replay", schedule=str(tmp_path / "none"), requests=3)
    with pytest.raises(SpecError, match="No such file"):
        arrival_offsets_ns(load, 1)
