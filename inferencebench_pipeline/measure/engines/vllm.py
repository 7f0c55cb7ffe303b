"""vLLM, started by us: its OpenAI server on a loopback port, watched, described and stopped.

vLLM may live in an environment of its own, whose pins then need not agree with ours:
``INFERENCEBENCH_VLLM_PYTHON`` names that environment's interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.measure.engines import installed_vllm
from inferencebench_pipeline.measure.engines.guardian import STOP_GRACE_S
from inferencebench_pipeline.measure.engines.http import RunningEngine, free_port
from inferencebench_pipeline.measure.engines.local_server import Identity, described, local_server
from inferencebench_pipeline.measure.engines.self_report import (
    EngineSays,
    reported_quantization,
)
from inferencebench_pipeline.measure.engines.weights import (
    Weights,
    cached_snapshot,
    read_weights,
)
from inferencebench_pipeline.measure.errors import EngineMissingError
from inferencebench_pipeline.measure.provenance.document import Unsaid
from inferencebench_pipeline.measure.spec.engine import VllmEngine
from inferencebench_pipeline.measure.spec.environment_variables import (
    engine_environment,
    recorded_environment,
)
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.settings import VLLM_PYTHON_VARIABLE, vllm_python

_PROBE_TIMEOUT_S: Final = 60.0
_GUARDIAN_S: Final = 10.0
"""The time that the guardian may take beyond the engine's own grace, in seconds."""
_PATH_WORD: Final = "<model_path>"


@contextmanager
def vllm_engine(spec: BenchmarkSpec, settings: VllmEngine, log: Path) -> Iterator[RunningEngine]:
    """Start vLLM's server for the spec's model and stop it, and all it started, afterwards.

    Raises:
        EngineMissingError: vLLM is not installed, or ``engine.model_path`` holds no model.
        EngineUnreachableError: the server is not ready in time; with the end of its log.
        ModelNotServedError: its own arguments made it serve the model by another name.
    """
    python = interpreter()
    package = installed(python)
    if settings.model_path is not None and not (Path(settings.model_path) / "config.json").exists():
        raise EngineMissingError(
            f"engine.model_path = {settings.model_path!r} holds no config.json; name the folder of "
            "a model in the Hub's layout, or leave it out to fetch model.id from the Hub"
        )
    port = free_port()
    arguments = serve_arguments(spec, settings)
    environment = _environment(settings)
    command = [
        *(sys.executable, "-m", "inferencebench_pipeline.measure.engines.guardian"),
        *(python, "-m", "vllm.entrypoints.openai.api_server", *arguments),
        # Apart from `arguments`, which are recorded: the port differs in every run.
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    config = {
        "kind": settings.kind,
        # No record states where something lies on one machine.
        "args": [_PATH_WORD if word == settings.model_path else word for word in arguments],
        "env": recorded_environment(environment),
        "package": package,
    }
    with local_server(
        spec,
        command,
        port,
        environment=environment,
        log=log,
        stop_grace_s=STOP_GRACE_S + _GUARDIAN_S,
    ) as server:
        yield described(spec, server, _identity(spec, settings, config, server.says))


def interpreter() -> str:
    """Return the Python that vLLM is installed for: the one the environment names, else ours."""
    return vllm_python() or sys.executable


def installed(python: str) -> dict[str, str]:
    """Return which vLLM ``python`` has: distribution, version, digest of the wheel's files.

    Raises:
        EngineMissingError: none, or there is no such interpreter.
    """
    try:
        answer = subprocess.run(  # noqa: S603 - the operator's interpreter, our script
            # By its file, since that interpreter need not have our package.
            [python, str(installed_vllm.__file__)],
            check=True,
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
        ).stdout
        package: dict[str, str] = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EngineMissingError(
            f"{python} cannot be asked for its vLLM ({error}); correct {VLLM_PYTHON_VARIABLE}"
        ) from error
    if not package:
        raise EngineMissingError(
            "engine.kind: vllm needs the package vllm, which is not installed for "
            f"{python}; install the vllm extra (pip install 'inferencebench-pipeline[vllm]'), or "
            f"name the interpreter of an environment that has it in {VLLM_PYTHON_VARIABLE}, or "
            "start vLLM yourself and use engine.kind: openai"
        )
    return package


def serve_arguments(spec: BenchmarkSpec, settings: VllmEngine) -> list[str]:
    """Return the server's arguments that the spec decides, address excluded."""
    arguments = ["--model", settings.model_path or spec.model.id]
    arguments += ["--served-model-name", spec.model.served_name or spec.model.id]
    arguments += ["--enable-tokenizer-info-endpoint"]  # so that it tells its chat template
    if spec.model.revision is not None and settings.model_path is None:
        arguments += ["--revision", spec.model.revision]
    return [*arguments, *settings.args]


def _environment(settings: VllmEngine) -> dict[str, str]:
    """Return its variables; it tells its configuration on loopback unless the spec says no."""
    # vLLM reports its use over the network by default, also while it is measured.
    telling = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1"}
    return engine_environment(os.environ, telling | settings.env)


def _identity(
    spec: BenchmarkSpec, settings: VllmEngine, config: dict[str, Any], says: EngineSays
) -> Identity:
    weights, missing = _weights(spec, settings)
    revision = spec.model.revision
    warnings: tuple[str, ...] = ()
    if revision is None and weights is not None:
        revision = weights.sha256[:40]
        warnings += (
            "model.revision is the first 40 hex digits of the weights' SHA-256: the spec names no "
            "Hub commit",
        )
    if revision is None:
        warnings += ("model.revision is unknown: set it, and vLLM serves that commit",)
    return Identity(
        name="vllm",
        version=says.version or config["package"]["version"],
        config=config,
        revision=revision,
        quantization=reported_quantization(says) or spec.model.quantization,
        weights=weights,
        unsaid=missing,
        warnings=warnings,
    )


def _weights(
    spec: BenchmarkSpec, settings: VllmEngine
) -> tuple[Weights | None, tuple[Unsaid, ...]]:
    """Return the digest of the files that vLLM loaded, and what could not be learnt of them."""
    folder = (
        Path(settings.model_path)
        if settings.model_path is not None
        else cached_snapshot(spec.model.id, spec.model.revision)
    )
    weights = None if folder is None else read_weights(folder)
    if weights is None:
        reason = "the files that vLLM loaded are not in the Hub's cache on this machine"
        return None, tuple(
            Unsaid(field=field, reason=reason) for field in ("file_sha256", "tokenizer_sha256")
        )
    return weights, ()
