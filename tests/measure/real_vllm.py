"""Where a real vLLM is, and a small spec for it; or a skip that says what is missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.measure.support import content_of_spec


def real_vllm() -> tuple[str, Path]:
    """Return interpreter and model folder, or skip by the name of what is missing."""
    python = os.environ.get("INFERENCEBENCH_VLLM_PYTHON")
    folder = os.environ.get("INFERENCEBENCH_VLLM_MODEL")
    if not python or not folder:
        pytest.skip(
            "vLLM NOT TESTED: set INFERENCEBENCH_VLLM_PYTHON to an interpreter that has vllm and "
            "INFERENCEBENCH_VLLM_MODEL to SmolLM2-135M-Instruct as safetensors (docs/engines.md)"
        )
    return python, Path(folder)


def content_of_vllm_spec(folder: Path) -> dict[str, Any]:
    """Plain data of a spec that has vLLM started, small enough for two cores and no GPU."""
    return content_of_spec(
        "",
        model={"id": "HuggingFaceTB/SmolLM2-135M-Instruct"},
        engine={
            "kind": "vllm",
            "model_path": str(folder),
            "args": ["--enforce-eager", "--max-model-len", "2048"],
            "env": {"VLLM_CPU_KVCACHE_SPACE": "1"},
        },
        workload={"max_tokens": 16},
        load={"kind": "closed", "concurrency": 2, "requests": 8, "warmup_requests": 2},
        deadlines={"request_s": 120, "run_s": 300, "engine_start_s": 600},
    )
