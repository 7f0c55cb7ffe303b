"""The whole life of a run on a real vLLM that the asset itself starts and stops."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.envelope.extension import pipeline_extension
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.measure.spec.spec import spec_json
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.runs.run_directory import RunFile, new_run_id
from tests.lifecycle.conftest import failed_checks, failure_text
from tests.measure.real_vllm import content_of_vllm_spec, real_vllm


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_a_real_vllm_is_measured_signed_and_published_with_its_own_numbers(world) -> None:
    _, folder = real_vllm()
    run = world.store.run(new_run_id())
    run.path.mkdir(parents=True)
    spec = parse_spec(content_of_vllm_spec(folder), where="test")
    run.write(RunFile.SPEC, spec_json(spec))
    result = world.materialise(run)
    assert result.success, failure_text(result)
    assert failed_checks(result) == set()
    (shown,) = (
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key.path[-1] == "traces"
    )
    records = {record.data["quantity"]: record.data for record in shown["engine_audit"].records}
    assert records["output tokens"]["engine says"] == records["output tokens"]["ours"]
    assert {"TTFT", "ITL", "E2E latency"} <= set(records)
    extension = pipeline_extension(parse_envelope(run.read(RunFile.ENVELOPE)))
    assert extension is not None
    assert extension.audit is not None
    assert extension.audit.family == "vllm"
    receipt = Receipt.model_validate_json(run.read(RunFile.PUBLICATION))
    hub = HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token())
    card = hub.hf_hub_download(receipt.repo_id, "README.md", repo_type="dataset")
    with open(card) as text:
        assert "The engine's own numbers" in text.read()
