"""Prices of an hour of each accelerator, from a dated list that a person has reviewed.

There is no default. Prices differ by contract, region and week, so a cost is only ever shown with
the source and the day of the price that it rests on.
"""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, model_validator

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.untrusted import YamlDocumentError, parse_yaml, problems_of

_MAX_BYTES: Final = 100_000
_MAX_NODES: Final = 20_000

Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class PricesError(PermanentError):
    """The list of prices cannot be read, or says something it must not."""


class Price(DocumentPart):
    """One accelerator's price."""

    accelerator: Line
    """As envelopes name it, such as ``NVIDIA H100 80GB HBM3``."""
    per_hour: Annotated[float, Field(gt=0)]
    """The price of one of them for an hour, in the list's currency."""


class Prices(DocumentPart):
    """The whole list: one source, one day, one currency."""

    version: Literal[1]
    """The version of this form of list."""
    source: Annotated[str, Field(pattern=r"^https?://\S+$", max_length=500)]
    """The address of the page that the prices were taken from."""
    date: date
    """The day on which they were taken."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """The currency, as its three letters of ISO 4217."""
    accelerators: Annotated[tuple[Price, ...], Field(min_length=1, max_length=500)]
    """The prices, one for each accelerator."""

    @model_validator(mode="after")
    def _named_once(self) -> Prices:
        names = [item.accelerator for item in self.accelerators]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} has two prices; which one holds?")
        return self

    def per_hour(self, accelerator: str) -> float | None:
        """Return the price of one accelerator for an hour; None when the list has none."""
        return next((p.per_hour for p in self.accelerators if p.accelerator == accelerator), None)

    @property
    def digest(self) -> str:
        """SHA-256 of what the list says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def note(self) -> str:
        """The note that must stand beside every cost."""
        return f"Prices of {self.date.isoformat()} from {self.source}, in {self.currency}."


def load_prices(path: Path) -> Prices:
    """Return the list in the YAML file at ``path``.

    Raises:
        PricesError: it cannot be read, or an entry is wrong; the message names it.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(_MAX_BYTES + 1)
    except OSError as error:
        raise PricesError(
            f"cannot read the prices {path} ({error.strerror}); check INFERENCEBENCH_PRICES"
        ) from error
    if len(data) > _MAX_BYTES:
        raise PricesError(f"the prices {path} are larger than {_MAX_BYTES} bytes")
    try:
        document = parse_yaml(data, what=str(path), max_bytes=_MAX_BYTES, max_nodes=_MAX_NODES)
        return Prices.model_validate(document.value)
    except YamlDocumentError as error:
        raise PricesError(f"the prices are not valid YAML: {error}") from error
    except ValidationError as error:
        problems = problems_of(error, whole="the list")
        raise PricesError(f"the prices {path}: {problems}") from error
