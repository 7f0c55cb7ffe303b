"""The job that searches for the highest load: its probes are runs that can be published."""

from __future__ import annotations

from pathlib import Path

import yaml

from definitions import build_definitions
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore
from inferencebench_pipeline.settings import Settings
from tests.instances import fresh_instance
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import content_of_spec


def test_every_probe_is_a_registered_and_measured_run(tmp_path: Path) -> None:
    environment = {
        "INFERENCEBENCH_HOME": str(tmp_path),
        "INFERENCEBENCH_SPECS": str(tmp_path / "specs"),
    }
    settings = Settings.from_environment(environment)
    settings.specs.mkdir()
    load = {"kind": "closed", "concurrency": 1, "requests": 40, "warmup_requests": 0}
    with running(FakeEngine(lambda _: Behaviour())) as engine, fresh_instance() as instance:
        slo = {"ttft_ms": 10_000}
        content = content_of_spec(engine.base_url, load=load, slo=slo)
        content["search"] = {"low": 1, "high": 3}
        (settings.specs / "fake-chat.yaml").write_text(yaml.safe_dump(content))
        job = build_definitions(settings).resolve_job_def("search_highest_load")
        config = {"ops": {"probe_loads": {"config": {"spec": "fake-chat"}}}}
        probed = job.execute_in_process(instance=instance, run_config=config).output_for_node(
            "probe_loads"
        )
        assert sorted(instance.get_dynamic_partitions(str(runs.name))) == sorted(probed)
    store = RunStore(settings.store)
    assert len(probed) == 2
    assert all(store.run(run_id).has(RunFile.MEASUREMENT) for run_id in probed)
    assert (settings.store / "searches" / f"{probed[0]}.json").is_file()
