"""A controlled vocabulary for the free text beside a result: how it was run, comparable by machine.

One line, ``key=value; key=value; ...`` in a fixed order, that a person can read where the Hub
shows it. Nine providers of the same weights score 0.80 to 0.84 on one task: a number without this
line cannot be compared with any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Self
from urllib.parse import quote, unquote

from inferencebench_pipeline.errors import PermanentError

VOCABULARY = ("provider", "engine", "quantization", "template", "tools", "judge", "fingerprint")
"""The keys, in the order they are written."""
NONE = "none"
SELECTION_POLICIES = frozenset({"fastest", "cheapest", "preferred", "auto"})
"""Selection policies that a client asks a router for; they name no provider."""

_SEPARATOR = "; "
_SAFE = " !#$&'()*+,-./:<>?@[]^_`{|}~\""
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NotesError(PermanentError):
    """A configuration cannot be written in the vocabulary."""


@dataclass(frozen=True)
class RunConfiguration:
    """The configuration behind a result; a field is ``None`` where it is not known."""

    provider: str | None = None
    """Provider that served the model, as resolved; never a selection policy such as ``fastest``."""
    engine: str | None = None
    """Name and version, such as ``vllm/0.12.0``."""
    quantization: str | None = None
    """Format and method, such as ``q4_1/gguf``."""
    template: str | None = None
    """The prompt or chat template: ``model`` for the model's own, else a name or digest."""
    tools: tuple[str, ...] | None = None
    """Tools the model could call; empty for none."""
    judge: str | None = None
    """The model that marked the answers; ``none`` when no model did."""
    fingerprint: str | None = None
    """SHA-256 of the hardware fingerprint in the signed record."""

    def __post_init__(self) -> None:
        for key in VOCABULARY:
            _check(key, getattr(self, key))

    def facets(self) -> dict[str, str]:
        """Return the known facets as text, in the vocabulary's order."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.tools is not None:
            found["tools"] = ",".join(quote(tool, safe="") for tool in self.tools) or NONE
        return {key: found[key] for key in VOCABULARY if found[key] is not None}

    @classmethod
    def of_facets(cls, facets: dict[str, str]) -> Self:
        """Return the configuration that :meth:`facets` gave.

        Raises:
            NotesError: a key that is not in the vocabulary, or a value it does not allow.
        """
        unknown = sorted(facets.keys() - set(VOCABULARY))
        if unknown:
            raise NotesError(f"{unknown[0]!r} is not one of {', '.join(VOCABULARY)}")
        values: dict[str, str | tuple[str, ...]] = dict(facets)
        if "tools" in facets:
            named = [] if facets["tools"] == NONE else facets["tools"].split(",")
            values["tools"] = tuple(unquote(tool) for tool in named)
        return cls(**values)  # type: ignore[arg-type]  # checked by __post_init__


@dataclass(frozen=True)
class Notes:
    """The notes of a result: a configuration in our vocabulary, or somebody's own words."""

    configuration: RunConfiguration | None
    text: str
    """Exactly what stands there."""


def render_notes(configuration: RunConfiguration) -> str:
    """Return the one line that says ``configuration``; empty when nothing is known.

    ``;``, ``=``, ``%`` and what is not printable ASCII are percent-encoded inside a value.
    """
    return _SEPARATOR.join(
        # The tools are encoded one by one already, so that the commas between them stay commas.
        f"{key}={value if key == 'tools' else quote(value, safe=_SAFE)}"
        for key, value in configuration.facets().items()
    )


def parse_notes(text: str) -> Notes:
    """Return what ``text`` says; nothing is lost, whoever wrote it.

    Only a line that :func:`render_notes` writes, to the byte, counts as our vocabulary: a
    half-understood configuration would be compared as if it were whole.
    """
    try:
        pairs = [part.split("=", 1) for part in text.split(_SEPARATOR)]
        facets = {key: value if key == "tools" else unquote(value) for key, value in pairs}
        configuration = RunConfiguration.of_facets(facets)
    except (ValueError, NotesError):
        return Notes(None, text)
    return Notes(configuration if render_notes(configuration) == text else None, text)


def _check(key: str, value: str | tuple[str, ...] | None) -> None:
    if value is None:
        return
    if isinstance(value, tuple):
        if list(value) != sorted(set(value)) or not all(value) or value == (NONE,):
            raise NotesError(f"tools {value!r} must be distinct names in order; empty for none")
        return
    if not value or value != value.strip():
        raise NotesError(f"{key} is {value!r}; leave it out when it is not known")
    # The router's policies are written with a colon, as in ``:fastest``.
    if key == "provider" and value.lower().lstrip(":") in SELECTION_POLICIES:
        raise NotesError(
            f"provider {value!r} is a selection policy; record the provider it was resolved to"
        )
    if key == "fingerprint" and not _SHA256.fullmatch(value):
        raise NotesError(f"fingerprint {value!r} is not a SHA-256 in lower-case hex")
