"""What engines reached by URL say about themselves, and what is null because they do not.

The answers are constructed from each engine's documentation, except vLLM's, whose shape and values
are those of a vLLM 0.32.0 (CPU build) that was asked.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.errors import ModelNotServedError
from inferencebench_pipeline.measure.provenance.document import UNKNOWN, Provenance
from inferencebench_pipeline.measure.run.run import run_benchmark
from tests.measure.support import ignore_progress, spec_for

COMMIT = "e985a63cdc139290c5f700ff1929f0b5942cced2"
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"

FACES: dict[str, dict[str, Any]] = {
    "vllm": {
        "/version": {"version": "0.32.0"},
        "/server_info?config_format=json": {
            "vllm_config": {
                "model_config": {
                    "dtype": "torch.bfloat16",
                    "quantization": None,
                    "max_model_len": 2048,
                    "model": "/home/somebody/private",
                    "hf_token": "hunter2",
                },
                "cache_config": {"block_size": 128, "enable_prefix_caching": True},
                "parallel_config": {"tensor_parallel_size": 1, "master_port": 29501},
                "scheduler_config": {"max_num_seqs": 128},
            },
            "vllm_env": {"VLLM_API_SECRET": "hunter2"},
            "system_env": {"torch_version": "2.13.0+cpu", "pip_packages": "everything"},
        },
        "/tokenizer_info": {"chat_template": TEMPLATE},
    },
    "sglang": {
        "/get_server_info": {
            "version": "0.5.9",
            "model_path": "org/model",
            "revision": COMMIT,
            "dtype": "bfloat16",
            "quantization": "fp8",
            "tp_size": 2,
            "mem_fraction_static": 0.88,
            "api_key": "hunter2",
        }
    },
    "tgi": {
        "/info": {
            "model_id": "org/model",
            "model_sha": COMMIT,
            "model_dtype": "torch.float16",
            "model_device_type": "cuda",
            "max_concurrent_requests": 128,
            "version": "3.3.6",
            "docker_label": "sha-1234567",
        }
    },
    "llama.cpp": {
        "/props": {
            "build_info": "b9999-abcdef",
            "total_slots": 4,
            "chat_template": TEMPLATE,
            "model_path": "/home/somebody/private.gguf",
            "default_generation_settings": {"n_ctx": 4096},
        }
    },
}


def provenance_of(fake, run, face: dict[str, Any]) -> Provenance:
    engine = fake()
    for path, answer in face.items():
        engine.questions[path] = lambda answer=answer: json.dumps(answer)
    settings = {"kind": "openai", "base_url": engine.base_url}
    run_benchmark(spec_for("", engine=settings), run, on_progress=ignore_progress)
    return Capture(run).provenance()


@pytest.mark.parametrize(
    ("family", "name", "version", "dtype", "revision", "format_"),
    [
        ("vllm", "vllm", "0.32.0", "bfloat16", UNKNOWN, "bfloat16"),
        ("sglang", "sglang", "0.5.9", "bfloat16", COMMIT, "fp8"),
        ("tgi", "text-generation-inference", "3.3.6", "float16", COMMIT, "float16"),
        ("llama.cpp", "llama.cpp", "b9999-abcdef", None, UNKNOWN, None),
    ],
)
def test_an_engines_own_words_are_its_provenance(
    fake, run, family, name, version, dtype, revision, format_
) -> None:
    found = provenance_of(fake, run, FACES[family])
    assert (found.engine.name, found.engine.version) == (name, version)
    assert (found.engine.dtype, found.model.revision) == (dtype, revision)
    assert (found.quantization.format if found.quantization else None) == format_
    template = hashlib.sha256(TEMPLATE.encode()).hexdigest()
    told = "chat_template" in json.dumps(FACES[family])
    assert found.model.chat_template_sha256 == (template if told else None)
    text = found.model_dump_json()
    assert "hunter2" not in text
    assert "/home/somebody" not in text


@pytest.mark.parametrize("family", ["none", *FACES])
def test_every_null_of_the_model_has_its_reason(fake, run, family) -> None:
    found = provenance_of(fake, run, FACES.get(family, {}))
    reasons = {item.field: item.reason for item in found.model.unsaid}
    for field in ("file_sha256", "tokenizer_sha256", "chat_template_sha256"):
        assert (getattr(found.model, field) is None) == (field in reasons), field
    assert (found.engine.dtype is None) == ("dtype" in reasons)
    assert all(reasons.values())


def test_a_vllm_that_keeps_its_configuration_to_itself_is_not_guessed_at(fake, run) -> None:
    found = provenance_of(fake, run, {"/version": {"version": "0.32.0"}})
    assert (found.engine.version, found.engine.dtype, found.quantization) == ("0.32.0", None, None)
    reasons = {item.field: item.reason for item in found.model.unsaid}
    assert "VLLM_SERVER_DEV_MODE" in reasons["dtype"]
    assert "--enable-tokenizer-info-endpoint" in reasons["chat_template_sha256"]


def test_the_provider_is_the_specs_or_this_machine(fake, run) -> None:
    engine = fake()
    settings = {"kind": "openai", "base_url": engine.base_url, "provider": "somecloud"}
    run_benchmark(spec_for("", engine=settings), run, on_progress=ignore_progress)
    assert Capture(run).provenance().model.provider == "somecloud"


def test_a_model_that_is_not_served_is_refused_with_those_that_are(fake, run) -> None:
    engine = fake()
    engine.models = ["org/one", "org/two"]
    with pytest.raises(ModelNotServedError, match="'fake', it serves org/one, org/two"):
        run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
