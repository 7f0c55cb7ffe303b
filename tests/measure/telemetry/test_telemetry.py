"""Telemetry: joules worked out on paper, nulls with reasons, and this host as it is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.measure.telemetry.document import read_sampling, telemetry_parquet
from inferencebench_pipeline.measure.telemetry.energy import cpu_energy, gpu_energy, unwrapped
from inferencebench_pipeline.measure.telemetry.hostload import HostLoad
from inferencebench_pipeline.measure.telemetry.nvml import NvmlSource, throttle_names
from inferencebench_pipeline.measure.telemetry.rapl import RaplSource
from inferencebench_pipeline.measure.telemetry.readings import Reading, Source
from inferencebench_pipeline.measure.telemetry.report import EngineUse, TelemetryReport
from inferencebench_pipeline.measure.telemetry.sampler import default_sources, sampling
from inferencebench_pipeline.measure.telemetry.summary import telemetry_flags
from inferencebench_pipeline.measure.telemetry.usage import engine_use, run_energy
from tests.measure.played_back import ConstructedNvml, ConstructedRapl

S = 10**9
BUSY, IDLE = (f"GPU-11111111-aaaa-4bbb-8ccc-00000000000{n}" for n in (1, 2))


def at_seconds(source: Source, count: int) -> list[Reading]:
    """Read ``count`` times, as if one second apart."""
    return [
        reading._replace(time_ns=second * S) for second in range(count) for reading in source.read()
    ]


@pytest.fixture
def sockets(tmp_path) -> ConstructedRapl:
    recorded = ConstructedRapl("constructed_rapl_two_sockets.json", tmp_path / "powercap")
    next(recorded.steps())
    return recorded


def rapl_readings(recorded: ConstructedRapl, source: RaplSource) -> list[Reading]:
    return [
        reading._replace(time_ns=step * S) for step in recorded.steps() for reading in source.read()
    ]


def test_rapl_counts_each_joule_once_on_two_sockets_with_equal_domain_names(sockets) -> None:
    """Core, psys and the mmio twin overlap packages; both dram domains count; wraps are turned."""
    source = RaplSource(sockets.root)
    devices = source.facts().devices
    assert [device.device for device in devices] == [
        "intel-rapl:0/package-0",
        "intel-rapl:0:1/dram",
        "intel-rapl:1/package-1",
        "intel-rapl:1:0/dram",
    ]
    energy = cpu_energy(rapl_readings(sockets, source), devices, (0, 10 * S))
    assert energy.valid
    assert energy.source == "rapl"
    assert [round(device.joules, 6) for device in energy.devices] == [100, 10, 100, 10]
    assert energy.joules == pytest.approx(220)


def test_the_windows_ends_are_interpolated_between_readings(sockets) -> None:
    source = RaplSource(sockets.root)
    readings = rapl_readings(sockets, source)
    energy = cpu_energy(readings, source.facts().devices, (int(2.5 * S), int(4.25 * S)))
    assert energy.joules == pytest.approx(22 * 1.75)


def test_a_counter_that_falls_without_a_range_is_refused() -> None:
    assert unwrapped([90, 99, 4, 2], 100) == [90, 99, 104, 202]
    with pytest.raises(ValueError, match="backwards"):
        unwrapped([5, 4], None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_counters_that_only_root_may_read_are_named(sockets) -> None:
    (sockets.root / "intel-rapl:1" / "energy_uj").chmod(0)
    assert "CVE-2020-8694" in RaplSource(sockets.root).facts().reasons[0]


def test_a_counter_that_cannot_be_read_makes_the_sum_invalid(sockets) -> None:
    (sockets.root / "intel-rapl:1" / "energy_uj").unlink()
    source = RaplSource(sockets.root)
    facts = source.facts()
    readings = at_seconds(source, 12)
    energy = run_energy(readings, [facts], EngineUse(gpus=(), how="cpu"), (0, 10 * S))
    assert not energy.valid
    assert any("intel-rapl:1/energy_uj" in reason for reason in energy.reasons)


def test_only_the_gpus_that_the_engine_used_are_summed_and_cross_checked() -> None:
    source = NvmlSource(ConstructedNvml("constructed_nvml_two_h100.json"))
    readings = at_seconds(source, 15)
    use = EngineUse(gpus=(BUSY,), how="test")
    energy = run_energy(readings, [source.facts()], use, (S, 13 * S))
    assert (energy.valid, energy.source) == (True, "nvml_total_energy")
    assert energy.joules == pytest.approx(400 * 12)  # and not 470 W with the idle one
    assert energy.devices[0].integral_joules == pytest.approx(400 * 12)


def test_a_counter_that_disagrees_with_power_makes_the_energy_invalid() -> None:
    source = NvmlSource(ConstructedNvml("constructed_nvml_two_h100.json"))
    readings = [
        reading._replace(value=reading.value * 1.2)
        if reading.quantity == "power_mw" and reading.value is not None
        else reading
        for reading in at_seconds(source, 15)
    ]
    energy = gpu_energy(readings, source.facts().devices[:1], (S, 13 * S))
    assert energy.joules == pytest.approx(4800)
    assert not energy.valid
    assert "5%" in energy.reasons[0]


def test_without_a_counter_power_is_integrated_over_a_failed_reading() -> None:
    source = NvmlSource(ConstructedNvml("constructed_nvml_p100_without_counter.json"))
    readings = at_seconds(source, 15)
    failed = [r for r in readings if r.quantity == "power_mw" and r.value is None]
    assert len(failed) == 1
    energy = gpu_energy(readings, source.facts().devices, (S, 13 * S))
    assert (energy.valid, energy.source) == (True, "nvml_power")
    assert energy.joules == pytest.approx(1200)  # a failed reading is a gap, not 0 W
    assert energy.devices[0].largest_gap_s == 2


def test_gaps_short_windows_and_uncovered_ends_are_reasons() -> None:
    source = NvmlSource(ConstructedNvml("constructed_nvml_two_h100.json"))
    devices = source.facts().devices[:1]
    readings = at_seconds(source, 15)
    holed = [r for r in readings if not 4 * S < r.time_ns < 9 * S]
    assert "no reading for 5.0 s" in gpu_energy(holed, devices, (S, 13 * S)).reasons[0]
    late = gpu_energy(readings, devices, (S, 20 * S))
    assert (late.joules, late.valid) == (None, False)
    assert "do not cover" in late.reasons[0]
    short = gpu_energy(readings, devices, (S, 4 * S))
    assert (short.joules, short.valid) == (pytest.approx(1200), False)
    assert "too short" in short.reasons[0]


def test_mig_and_neighbours_on_a_gpu_are_reasons() -> None:
    source = NvmlSource(ConstructedNvml("constructed_nvml_two_h100.json"))
    readings = at_seconds(source, 15)
    facts = source.facts()
    use = EngineUse(gpus=(BUSY,), shared=(BUSY,), how="test")
    assert "other processes" in run_energy(readings, [facts], use, (S, 13 * S)).reasons[0]
    mig = facts.devices[0].model_copy(update={"before": {"mig_mode": 1}})
    assert "MIG" in gpu_energy(readings, [mig], (S, 13 * S)).reasons[0]


def test_a_gpus_state_names_driver_clocks_throttling_and_errors() -> None:
    source = NvmlSource(ConstructedNvml("constructed_nvml_two_h100.json"))
    state = source.state()[BUSY]
    assert state["driver"] == "570.86.15"
    assert (state["ecc_corrected"], state["ecc_uncorrected"], state["ecc_mode"]) == (0, 0, 1)
    assert (state["throttle_reasons"], state["power_limit_mw"]) == ([], 700_000)
    assert state["compute_pids"] == [4242]
    assert throttle_names(0x4 | 0x40 | 0x800) == [
        "sw_power_cap",
        "hw_thermal_slowdown",
        "0x800",
    ]


def fake_proc(root: Path, parents: dict[int, int]) -> Path:
    for pid, parent in parents.items():
        (root / str(pid)).mkdir(parents=True)
        (root / str(pid) / "stat").write_text(f"{pid} (a b) c) S {parent} 1 1")
    return root


def test_the_gpus_used_are_those_that_list_a_descendant_of_the_engine(tmp_path) -> None:
    proc = fake_proc(tmp_path, {10: 1, 11: 10, 12: 11, 99: 1})
    states = {"a": {"compute_pids": [12]}, "b": {"compute_pids": [99]}, "c": {"compute_pids": []}}
    assert engine_use(states, 10, proc).gpus == ("a",)
    assert engine_use({"a": {"compute_pids": [12, 99]}}, 10, proc).shared == ("a",)
    assert engine_use({"b": states["b"]}, 10, proc).gpus == ()
    assert engine_use(states, None, proc).gpus == ("a", "b")
    assert engine_use({"c": states["c"]}, 10, proc).gpus == ()
    elsewhere = engine_use({"a": {"compute_pids": [777]}}, 10, proc)
    assert elsewhere.gpus is None
    assert "namespace" in elsewhere.how


def test_this_host_as_it_is_gives_readings_and_a_reason_for_every_joule_it_lacks(tmp_path) -> None:
    spool, facts = tmp_path / "telemetry.jsonl", tmp_path / "telemetry.json"
    begun = time.monotonic_ns()
    with sampling(default_sources(), spool, facts, engine_pid=os.getpid()):
        time.sleep(0.05)
    ended = time.monotonic_ns()
    found = read_sampling(spool, facts)
    assert found is not None
    readings, described = found
    assert {"memory_available_bytes", "cpu_busy_share"} <= {r.quantity for r in readings}
    energy = run_energy(readings, described.sources, described.engine, (begun, ended))
    assert energy.joules is None or energy.joules > 0
    assert energy.valid or energy.reasons
    origin = described.realtime_minus_monotonic_ns + begun
    (tmp_path / "t.parquet").write_bytes(telemetry_parquet(readings, described, origin))
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.num_rows == len(readings)
    times = table.column("time_ns").to_pylist()
    assert 0 <= times[0] <= times[-1] <= ended - begun
    assert table.schema.metadata[b"telemetry_schema_version"] == b"1"


def test_a_source_is_sampled_again_and_again_while_the_context_lasts(tmp_path) -> None:
    source = NvmlSource(ConstructedNvml("constructed_nvml_two_h100.json"))
    source.period_s = 0.001
    spool, facts = tmp_path / "telemetry.jsonl", tmp_path / "telemetry.json"
    with sampling([source, HostLoad()], spool, facts, engine_pid=None):
        deadline = time.monotonic() + 20
        while spool.read_bytes().count(b"power_mw") < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
    found = read_sampling(spool, facts)
    assert found is not None
    readings, described = found
    assert sum(r.quantity == "power_mw" for r in readings) >= 20
    gpu = described.sources[0].devices[0]
    assert (gpu.before["sm_clock_mhz"], gpu.after["ecc_uncorrected"]) == (1980, 0)
    assert gpu.after["throttle_reasons"] == ["sw_power_cap"]
    assert described.engine.gpus == (BUSY,)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this platform")
def test_a_full_disk_ends_the_sampling_and_not_the_run(tmp_path) -> None:
    facts = tmp_path / "telemetry.json"
    with sampling([HostLoad()], Path("/dev/full"), facts, engine_pid=None):
        pass
    assert facts.exists()


def test_a_reading_torn_by_a_full_disk_is_left_out(tmp_path) -> None:
    spool, facts = tmp_path / "telemetry.jsonl", tmp_path / "telemetry.json"
    with sampling([HostLoad()], spool, facts, engine_pid=None):
        pass
    lines = spool.read_text().splitlines(keepends=True)
    spool.write_text("".join(lines[:-1]) + lines[-1][:9])
    found = read_sampling(spool, facts)
    assert found is not None
    assert len(found[0]) == len(lines) - 1


def test_a_run_that_sampled_nothing_has_no_telemetry(tmp_path) -> None:
    assert read_sampling(tmp_path / "none.jsonl", tmp_path / "none.json") is None


def test_no_powercap_and_no_driver_are_reasons_not_zeros(tmp_path) -> None:
    rapl = RaplSource(tmp_path / "absent")
    facts = [rapl.facts(), NvmlSource().facts()]
    energy = run_energy([], facts, EngineUse(gpus=(), how="cpu"), (0, S))
    assert energy.joules is None
    assert "does not exist" in energy.reasons[0]


def report_of(tmp_path: Path, **changes: object) -> TelemetryReport:
    source = NvmlSource(ConstructedNvml("constructed_nvml_two_h100.json"))
    spool, facts = tmp_path / "telemetry.jsonl", tmp_path / "telemetry.json"
    with sampling([source], spool, facts, engine_pid=None):
        pass
    found = read_sampling(spool, facts)
    assert found is not None
    report = TelemetryReport(
        engine=EngineUse(gpus=(BUSY,), how="test"),
        sources=found[1].sources,
        energy=(),
        sampler_cpu_share=0.0,
        readings=0,
        file_sha256=None,
    )
    return report.model_copy(update=changes)


def test_heat_and_memory_errors_of_the_engines_gpus_are_flags(tmp_path) -> None:
    fine = {flag.name: flag.ok for flag in telemetry_flags(report_of(tmp_path))}
    assert fine == {"gpus_not_throttled": True, "gpu_memory_clean": True}
    capped = report_of(tmp_path, throttled={BUSY: ("sw_power_cap",)})
    assert all(flag.ok for flag in telemetry_flags(capped))
    hot = report_of(tmp_path, throttled={BUSY: ("sw_power_cap", "hw_thermal_slowdown")})
    (flag,) = (flag for flag in telemetry_flags(hot) if not flag.ok)
    assert flag.detail == f"{BUSY}: hw_thermal_slowdown"
    (facts,) = hot.sources
    worse = facts.devices[0].model_copy(update={"after": {"ecc_uncorrected": 2}})
    failing = report_of(tmp_path, sources=(facts.model_copy(update={"devices": (worse,)}),))
    assert [flag.name for flag in telemetry_flags(failing) if not flag.ok] == ["gpu_memory_clean"]


def test_a_run_on_the_cpu_has_no_gpu_flags(tmp_path) -> None:
    assert telemetry_flags(report_of(tmp_path, engine=EngineUse(gpus=(), how="cpu"))) == ()
