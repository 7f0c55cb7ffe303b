"""An engine that someone else runs, reached over the OpenAI HTTP API."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from inferencebench_pipeline.measure.engines.running import (
    RunningEngine,
    ask,
    require_model,
    sha256_json,
    sha256_text,
)
from inferencebench_pipeline.measure.errors import EngineAccessError
from inferencebench_pipeline.measure.provenance import (
    UNKNOWN,
    EngineProvenance,
    ModelProvenance,
)
from inferencebench_pipeline.measure.spec import BenchmarkSpec, OpenAIEngine

_QUESTION_TIMEOUT_S: Final = 5.0


@contextmanager
def openai_engine(spec: BenchmarkSpec, settings: OpenAIEngine) -> Iterator[RunningEngine]:
    """Yield the engine at ``settings.base_url``, which serves the spec's model.

    Raises:
        EngineAccessError: the variable of the API key is not set, or the engine refuses the key.
        EngineUnreachableError: nothing answers there.
        ModelNotServedError: it serves other models.
    """
    _require_key(settings)
    warnings = require_model(settings.base_url, spec, settings.api_key_env)
    root_url = settings.base_url.removesuffix("/v1")
    name, version, said, more = _identity(root_url, settings)
    config = {"kind": settings.kind, "engine_says": said}
    revision = spec.model.revision
    if revision is None:
        revision = UNKNOWN
        more += ("model.revision is unknown: the engine does not say it; set it in the spec",)
    local = _on_loopback(settings.base_url)
    if not local:
        more += (
            "hardware is the client's: the engine runs on another machine, which it says "
            "nothing about",
        )
    yield RunningEngine(
        base_url=settings.base_url,
        api_key_env=settings.api_key_env,
        model=ModelProvenance(
            id=spec.model.id,
            revision=revision,
            provider="local" if local else "remote",
            endpoint_hash=sha256_text(settings.base_url),
            file_sha256=None,
        ),
        engine=EngineProvenance(
            name=name, version=version, config_hash=sha256_json(config), config=config
        ),
        quantization=spec.model.quantization,
        on_this_host=local,
        warnings=warnings + more,
    )


def _require_key(settings: OpenAIEngine) -> None:
    variable = settings.api_key_env
    if variable is None:
        return
    key = os.environ.get(variable)
    if not key:
        raise EngineAccessError(
            f"engine.api_key_env names {variable}, which is not set; export the API key in it"
        )
    if not key.isascii() or not key.isprintable():
        raise EngineAccessError(
            f"the API key in {variable} holds characters that no HTTP header can; export it again"
        )


def _identity(
    root_url: str, settings: OpenAIEngine
) -> tuple[str, str, dict[str, Any], tuple[str, ...]]:
    """Return name, version and configuration as the engine tells them, the spec's word first."""
    key = settings.api_key_env
    said: dict[str, Any] = {}
    version = _ask_for(root_url + "/version", key)  # vLLM
    if isinstance(version.get("version"), str):
        said = {"name": "vllm", "version": version["version"]}
    else:
        props = _ask_for(root_url + "/props", key)  # llama.cpp
        if isinstance(props.get("build_info"), str):
            said = {"name": "llama.cpp", "version": props["build_info"]}
            said |= {
                name: props[name]
                for name in ("total_slots", "model_alias")
                if isinstance(props.get(name), str | int)
            }
    warnings: list[str] = []
    values: list[str] = []
    for field, given in (("name", settings.name), ("version", settings.version)):
        value = given or said.get(field) or UNKNOWN
        if value == UNKNOWN:
            warnings.append(
                f"engine.{field} is unknown: the engine answers neither /version nor /props; set "
                "it in the spec"
            )
        elif given and said.get(field) not in (None, given):
            warnings.append(f"engine.{field} is the spec's; the engine says {said[field]!r}")
        values.append(str(value).strip() or UNKNOWN)
    return values[0], values[1], said, tuple(warnings)


def _ask_for(url: str, api_key_env: str | None) -> dict[str, Any]:
    try:
        content = ask(url, api_key_env, _QUESTION_TIMEOUT_S).content
    except OSError:
        return {}
    return content if isinstance(content, dict) else {}


def _on_loopback(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
