"""Which variables reach an engine, and which of those enter the record."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.measure.environment import (
    engine_environment,
    is_secret,
    reaches_engines,
    recorded_environment,
)


@pytest.mark.parametrize(
    ("name", "reaches", "recorded"),
    [
        ("CUDA_VISIBLE_DEVICES", True, True),
        ("VLLM_ATTENTION_BACKEND", True, True),
        ("OMP_NUM_THREADS", True, True),
        ("TOKENIZERS_PARALLELISM", True, True),
        ("LD_PRELOAD", True, True),
        ("HF_TOKEN", True, False),
        ("VLLM_API_KEY", True, False),
        ("HF_HOME", True, False),
        ("VLLM_CACHE_ROOT", True, False),
        ("PATH", True, False),
        ("https_proxy", True, False),
        ("SIGSTORE_ID_TOKEN", False, False),
        ("INFERENCEBENCH_IDENTITY_TOKEN_FILE", False, False),
        ("AWS_SECRET_ACCESS_KEY", False, False),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", False, False),
        ("DATABASE_URL", False, False),
    ],
)
def test_an_engine_gets_what_it_needs_and_the_record_what_decides_speed(
    name, reaches, recorded
) -> None:
    assert reaches_engines(name) == reaches
    environment = engine_environment({name: "value"}, {})
    assert (name in environment) == reaches
    assert (name in recorded_environment(environment)) == recorded


def test_the_specs_variables_win() -> None:
    found = engine_environment({"OMP_NUM_THREADS": "8"}, {"OMP_NUM_THREADS": "1"})
    assert found == {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("name", ["HF_TOKEN", "hf_token", "VLLM_API_KEY", "NCCL_PASSWORD"])
def test_a_secret_is_known_by_its_name(name) -> None:
    assert is_secret(name)
