"""vLLM, started by us: ``vllm serve`` from the ``vllm`` extra on a loopback port."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from inferencebench_pipeline.measure.child import running_child
from inferencebench_pipeline.measure.engines.running import (
    RunningEngine,
    free_port,
    require_model,
    sha256_json,
    sha256_text,
    wait_until_healthy,
)
from inferencebench_pipeline.measure.errors import EngineMissingError
from inferencebench_pipeline.measure.provenance import (
    UNKNOWN,
    EngineProvenance,
    ModelProvenance,
)
from inferencebench_pipeline.measure.software import distribution_files_sha256
from inferencebench_pipeline.measure.spec import BenchmarkSpec, VllmEngine


@contextmanager
def vllm_engine(spec: BenchmarkSpec, settings: VllmEngine, log: Path) -> Iterator[RunningEngine]:
    """Start ``vllm serve`` for the spec's model and stop it afterwards.

    Raises:
        EngineMissingError: the ``vllm`` extra is not installed.
        EngineUnreachableError: the server is not ready in time.
    """
    if importlib.util.find_spec("vllm") is None:
        raise EngineMissingError(
            "engine.kind: vllm needs the package vllm, which is not installed; install the vllm "
            "extra (pip install 'inferencebench-pipeline[vllm]'), or start it yourself and use "
            "engine.kind: openai"
        )
    port = free_port()
    arguments = serve_arguments(spec, settings)
    launcher = [sys.executable, "-m", "inferencebench_pipeline.measure.engines.vllm_server"]
    command = [*launcher, *arguments, "--host", "127.0.0.1", "--port", str(port)]
    root_url = f"http://127.0.0.1:{port}"
    with running_child(command, log=log) as process:
        wait_until_healthy(root_url, spec.deadlines.engine_start_s, process, log)
        warnings = require_model(f"{root_url}/v1", spec, None)
        config: dict[str, Any] = {
            "kind": settings.kind,
            "args": arguments,
            "wheel_files_sha256": distribution_files_sha256("vllm"),
        }
        if spec.model.revision is None:
            warnings += ("model.revision is unknown: set it, and vLLM serves that commit",)
        yield RunningEngine(
            base_url=f"{root_url}/v1",
            api_key_env=None,
            model=ModelProvenance(
                id=spec.model.id,
                revision=spec.model.revision or UNKNOWN,
                provider="local",
                endpoint_hash=sha256_text("vllm://127.0.0.1/v1"),
                file_sha256=None,
            ),
            engine=EngineProvenance(
                name="vllm",
                version=metadata.version("vllm"),
                config_hash=sha256_json(config),
                config=config,
            ),
            quantization=spec.model.quantization,
            on_this_host=True,
            warnings=warnings,
            process=process,
        )


def serve_arguments(spec: BenchmarkSpec, settings: VllmEngine) -> list[str]:
    """Return the arguments of ``vllm serve`` that the spec decides, address excluded."""
    arguments = [spec.model.id, "--served-model-name", spec.model.served_name or spec.model.id]
    if spec.model.revision is not None:
        arguments += ["--revision", spec.model.revision]
    return [*arguments, *settings.args]
