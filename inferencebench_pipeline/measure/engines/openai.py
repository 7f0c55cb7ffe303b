"""An engine that someone else runs, reached over the OpenAI HTTP API."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from inferencebench_pipeline.measure.engines.http import (
    Access,
    RunningEngine,
    require_model,
    sha256_json,
    sha256_text,
)
from inferencebench_pipeline.measure.engines.self_report import (
    EngineSays,
    engine_says,
    reported_quantization,
)
from inferencebench_pipeline.measure.provenance.document import (
    UNKNOWN,
    EngineProvenance,
    ModelProvenance,
    Unsaid,
)
from inferencebench_pipeline.measure.spec.engine import OpenAIEngine
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec

_NOT_OURS: Final = "the engine was not started by us: its files are not ours to read"
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")


@contextmanager
def openai_engine(spec: BenchmarkSpec, settings: OpenAIEngine) -> Iterator[RunningEngine]:
    """Yield the engine at ``settings.base_url``, which serves the spec's model.

    Raises:
        EngineAccessError: the API key is not set, not for that address, or refused by the engine.
        EngineUnreachableError: nothing answers there.
        ModelNotServedError: it serves other models.
    """
    access = Access(settings.api_key_env, settings.proxy)
    access.key_for(settings.base_url)  # a key that may not go there is told before anything is sent
    warnings = require_model(settings.base_url, spec, access)
    # What engines tell of themselves stands at their root, beside the API.
    says = engine_says(settings.base_url.removesuffix("/v1"), access)
    name, version, more = _identity(says, settings)
    local = _on_loopback(settings.base_url)
    provider = settings.provider or ("local" if local else _host(settings.base_url))
    config = {"kind": settings.kind, "engine_says": says.config}
    revision = spec.model.revision or _commit(says.revision)
    if revision is None:
        more += ("model.revision is unknown: the engine does not say it; set it in the spec",)
    elif says.revision not in (None, revision):
        more += (f"model.revision is the spec's; the engine says {says.revision!r}",)
    if not local:
        more += (
            "hardware is the client's: the engine runs on another machine, which it says "
            "nothing about",
        )
    yield RunningEngine(
        base_url=settings.base_url,
        api_key_env=settings.api_key_env,
        proxy=settings.proxy,
        model=ModelProvenance(
            id=spec.model.id,
            revision=revision or UNKNOWN,
            provider=provider,
            # No envelope states an address, yet one can tell that two of them are the same.
            endpoint_hash=sha256_text(settings.base_url),
            file_sha256=None,
            resolved_id=spec.model.served_name or spec.model.id,
            chat_template_sha256=says.chat_template_sha256,
            unsaid=(
                Unsaid(field="file_sha256", reason=_NOT_OURS),
                Unsaid(field="tokenizer_sha256", reason=_NOT_OURS),
                *says.unsaid,
            ),
        ),
        engine=EngineProvenance(
            name=name,
            version=version,
            config_hash=sha256_json(config),
            config=config,
            dtype=says.dtype,
        ),
        quantization=spec.model.quantization or reported_quantization(says),
        on_this_host=local,
        warnings=warnings + more,
    )


def _commit(revision: str | None) -> str | None:
    """Return a revision that is a commit; a branch such as ``main`` moves and says nothing."""
    return revision if revision is not None and _COMMIT.fullmatch(revision) else None


def _host(base_url: str) -> str:
    return urlsplit(base_url).hostname or "remote"


def _identity(says: EngineSays, settings: OpenAIEngine) -> tuple[str, str, tuple[str, ...]]:
    """Return name and version as the engine tells them, the spec's word first, and warnings."""
    warnings: list[str] = []
    values: list[str] = []
    for field, given, said in (
        ("name", settings.name, says.name),
        ("version", settings.version, says.version),
    ):
        if given is None and said is None:
            warnings.append(
                f"engine.{field} is unknown: the engine answers none of /version, "
                "/get_server_info, /info and /props; set it in the spec"
            )
        elif given is not None and said not in (None, given):
            warnings.append(f"engine.{field} is the spec's; the engine says {said!r}")
        values.append((given or said or UNKNOWN).strip() or UNKNOWN)
    return values[0], values[1], tuple(warnings)


def _on_loopback(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
