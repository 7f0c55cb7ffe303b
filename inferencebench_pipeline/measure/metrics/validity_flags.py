"""Validity flags: statements about a measurement, each of which holds or does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.untrusted import printable


class ValidityFlag(DocumentPart):
    """One statement about the trust that a measurement deserves, and its reason."""

    name: str = Field(min_length=1)
    """The name of the statement, for example ``client_not_the_bottleneck``."""
    ok: bool
    """True when the statement holds."""
    severity: Literal["error", "warn"]
    """The severity when the statement does not hold."""
    detail: str
    """The figures behind the statement, and the remedy."""


def errors_of(flags: Iterable[ValidityFlag]) -> list[ValidityFlag]:
    """Return the flags that keep a measurement from being signed or published."""
    return [flag for flag in flags if not flag.ok and flag.severity == "error"]


def said_of(flags: Iterable[ValidityFlag]) -> str:
    """Return the failed statements in one line; the detail may quote an engine."""
    return "; ".join(f"{flag.name}: {printable(flag.detail)}" for flag in flags)
