"""An engine that the pipeline starts on a loopback port: started, waited for, described, stopped.

The command, its environment and the identity of the weights belong to each kind of engine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferencebench_pipeline.measure.child_process import STOP_GRACE_S, running_child
from inferencebench_pipeline.measure.engines.http import (
    NO_KEY,
    RunningEngine,
    require_model,
    sha256_json,
    sha256_text,
    wait_until_healthy,
)
from inferencebench_pipeline.measure.engines.self_report import EngineSays, engine_says
from inferencebench_pipeline.measure.engines.weights import Weights
from inferencebench_pipeline.measure.provenance.document import (
    UNKNOWN,
    EngineProvenance,
    ModelProvenance,
    Unsaid,
)
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec.stated_parts import Quantization


@dataclass(frozen=True)
class LocalServer:
    """An engine of ours that answers on loopback and serves the model of the spec."""

    root_url: str
    process: subprocess.Popen[bytes]
    says: EngineSays
    """The engine's own report of itself."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Identity:
    """The identity of an engine and of the model that it loaded."""

    name: str
    version: str
    config: dict[str, Any]
    """Everything that decides how the engine behaves; its own report is added."""
    revision: str | None
    quantization: Quantization | None
    weights: Weights | None
    chat_template_sha256: str | None = None
    """The SHA-256 of the chat template in the weights, where the engine does not tell it."""
    unsaid: tuple[Unsaid, ...] = ()
    warnings: tuple[str, ...] = ()


@contextmanager
def local_server(
    spec: BenchmarkSpec,
    command: Sequence[str],
    port: int,
    *,
    environment: Mapping[str, str],
    log: Path,
    stop_grace_s: float = STOP_GRACE_S,
) -> Iterator[LocalServer]:
    """Start an engine, yield it once it serves the model of the spec, and stop it afterwards.

    Args:
        spec: the resolved spec.
        command: program and arguments, which make it listen on ``port``.
        port: a free port.
        environment: every variable that the engine gets.
        log: takes the output of the engine.
        stop_grace_s: seconds that it may take to stop before it is killed.

    Raises:
        EngineUnreachableError: the engine is not ready in time; with the end of its log.
        ModelNotServedError: its arguments made it serve the model by another name.
    """
    root_url = f"http://127.0.0.1:{port}"
    with running_child(
        command, log=log, environment=environment, stop_grace_s=stop_grace_s
    ) as process:
        wait_until_healthy(root_url, spec.deadlines.engine_start_s, process, log)
        warnings = require_model(f"{root_url}/v1", spec, NO_KEY)
        yield LocalServer(root_url, process, engine_says(root_url, NO_KEY), warnings)


def described(spec: BenchmarkSpec, server: LocalServer, identity: Identity) -> RunningEngine:
    """Return the engine of ``server`` with its provenance."""
    says, weights = server.says, identity.weights
    # What the engine made of its settings decides as much as the settings, so both are hashed.
    config = identity.config | {"engine_says": says.config}
    return RunningEngine(
        base_url=f"{server.root_url}/v1",
        api_key_env=None,
        model=ModelProvenance(
            id=spec.model.id,
            revision=identity.revision or UNKNOWN,
            provider="local",
            # The port differs in every run and says nothing, so the kind stands for the place.
            endpoint_hash=sha256_text(f"{spec.engine.kind}://127.0.0.1/v1"),
            file_sha256=None if weights is None else weights.sha256,
            resolved_id=spec.model.served_name or spec.model.id,
            weights=None if weights is None else weights.files,
            tokenizer_sha256=None if weights is None else weights.tokenizer_sha256,
            # The engine's own word comes first: an argument may replace the weights' template.
            chat_template_sha256=says.chat_template_sha256 or identity.chat_template_sha256,
            unsaid=(*identity.unsaid, *says.unsaid),
        ),
        engine=EngineProvenance(
            name=identity.name,
            version=identity.version,
            config_hash=sha256_json(config),
            config=config,
            dtype=says.dtype,
        ),
        quantization=identity.quantization,
        on_this_host=True,
        warnings=(*server.warnings, *identity.warnings),
        process=server.process,
    )
