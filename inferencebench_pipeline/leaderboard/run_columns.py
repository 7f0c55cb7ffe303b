"""The columns of a published run: each is declared once, with its meaning, its type and its label.

Everything else follows from the declaration: the facts that are taken from an envelope, the reader
that takes them without building one, the schema of the index's tables, the row and its JSON, and
the filters and the columns of the page. To add a column, add a field here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Final, get_args

import pyarrow as pa
from pydantic import BaseModel, Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.envelope import TRACES_FILE
from inferencebench_pipeline.leaderboard.envelope_source import (
    EnvelopeSource,
    describe_load,
    load_setting,
)

# Sixteen digits of a SHA-256, because row ids name files and a stranger's text must not.
RowId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


@dataclass(frozen=True)
class Stated:
    """Marks a field as a column of the table of runs whose value an envelope states."""

    of: Callable[[EnvelopeSource], object]
    """Reads the value. Only what it takes from the envelope's own models is read fast."""


@dataclass(frozen=True)
class Shown:
    """Marks a field as a column of the board's data, under a name that addresses of views use."""

    name: str
    label: str | None = None
    """Label of the filter; None for a column that readers cannot filter by."""
    of: Callable[[Any], str | None] | None = None
    """Makes the text from the whole row; None where the field is the text."""
    in_tables: bool = False
    """True for a column of its own in every table of runs, and a line on each run's page. Model,
    engine, hardware and load, of which a table's cell holds two values each, have theirs by hand.
    """

    def text(self, row: BaseModel, field: str) -> str | None:
        """Return the text to show of a row in which the marked field has the name ``field``."""
        if self.of is not None:
            return self.of(row)
        value: str | None = getattr(row, field)
        return value


class StatedRow(DocumentPart):
    """The part of a row that an envelope states, in the order in which the board shows filters."""

    run_id: Annotated[str | None, Stated(lambda of: of.envelope.run_id)] = None
    """The id of the run (``run_id`` of the envelope)."""
    envelope_sha256: Annotated[str | None, Stated(lambda of: of.envelope_sha256)] = None
    """SHA-256 of the envelope's bytes, in hex."""
    content_hash: Annotated[str | None, Stated(lambda of: of.content_hash)] = None
    """SHA-256 of the envelope's canonical body, in hex, which its signature is over."""
    timestamp: Annotated[str | None, Stated(lambda of: of.timestamp)] = None
    """The instant of the measurement, ISO 8601 with an offset (``timestamp``)."""
    model_id: Annotated[
        str | None, Stated(lambda of: of.envelope.model.id), Shown("model", "Model")
    ] = None
    """The id of the model (``model.id`` of the envelope)."""
    model_revision: Annotated[str | None, Stated(lambda of: of.envelope.model.revision)] = None
    """The revision of the model (``model.revision``), such as a commit on the Hub."""
    quantization: Annotated[str | None, Shown("quantization", "Quantisation")] = None
    """Format and method of the quantisation in words; made of the two columns of those names."""
    model_provider: Annotated[
        str | None,
        Stated(lambda of: of.envelope.model.provider),
        Shown("provider", "Provider"),
    ] = None
    """Whoever served the model (``model.provider``)."""
    engine_name: Annotated[
        str | None, Stated(lambda of: of.envelope.engine.name), Shown("engine", "Engine")
    ] = None
    """The name of the inference engine (``engine.name``)."""
    engine_version: Annotated[
        str | None,
        Stated(lambda of: of.envelope.engine.version),
        Shown("engine_version", "Engine version"),
    ] = None
    """The version of the inference engine (``engine.version``)."""
    engine_config_hash: Annotated[str | None, Stated(lambda of: of.envelope.engine.config_hash)] = (
        None
    )
    """SHA-256 of the engine's configuration, in hex (``engine.config_hash``)."""
    hardware_class: Annotated[
        str | None,
        Stated(lambda of: of.notes.hardware_class if of.notes else None),
        Shown("hardware_class", "Hardware class"),
    ] = None
    """The kind of machine, such as ``cpu`` or ``h100``; null where our own notes are not in the
    envelope."""
    hardware: Annotated[
        str | None, Stated(lambda of: of.hardware), Shown("hardware", "Hardware")
    ] = None
    """The GPUs of the host in words, or its processor where it has none
    (``hardware_fingerprint``)."""
    accelerators: Annotated[int | None, Stated(lambda of: of.accelerators)] = None
    """GPUs the run used; null when it used none: numbers per GPU then do not exist."""
    fingerprint_sha256: Annotated[
        str | None, Stated(lambda of: of.envelope.hardware_fingerprint.fingerprint_sha256)
    ] = None
    """SHA-256 of the host's hardware, in hex (``hardware_fingerprint.fingerprint_sha256``)."""
    dataset_id: Annotated[str | None, Stated(lambda of: of.envelope.dataset.id)] = None
    """The id of the prompts (``dataset.id``)."""
    load_kind: Annotated[
        str | None, Stated(lambda of: load_setting(of.load)[0]), Shown("load_kind", "Kind of load")
    ] = None
    """``closed``, ``open`` or ``replay``; null when the envelope states none that we know."""
    load_point: Annotated[
        str | None, Stated(lambda of: describe_load(of.load)), Shown("load", "Load")
    ] = None
    """The load in words, such as ``8 in flight``; null when the envelope states none that we
    know."""
    load_value: Annotated[float | None, Stated(lambda of: load_setting(of.load)[1])] = None
    """Requests in flight (closed), requests per second (open) or the speed (replay)."""
    slo: Annotated[str | None, Stated(lambda of: of.slo), Shown("slo", "SLO")] = None
    """The name of the service level objective (``slo_template``); null when there is none."""
    suite_id: Annotated[
        str | None,
        Stated(lambda of: of.envelope.suite_id),
        Shown("suite", "Suite", of=lambda row: suite_words(row.suite_id, row.suite_version)),
    ] = None
    """The id of the suite (``suite_id``)."""
    suite_version: Annotated[str | None, Stated(lambda of: of.envelope.suite_version)] = None
    """The version of the suite (``suite_version``)."""
    workload: Annotated[str | None, Stated(lambda of: of.workload)] = None
    """The digest of what was asked, or ``dataset:`` and that of the dataset where no workload
    is stated."""
    metric_definitions: Annotated[str | None, Stated(lambda of: of.metric_definitions)] = None
    """The version of the metric definitions; ``not stated`` where the envelope names none."""
    group_id: Annotated[RowId | None, Stated(lambda of: of.group_id), Shown("group")] = None
    """The id of the comparison group: 16 hex digits of what comparable results share."""


class EnvelopeFacts(StatedRow):
    """One line of the index as far as the envelope decides it, with the columns that no row has."""

    quantization_format: Annotated[
        str | None,
        Stated(lambda of: of.envelope.quantization.format if of.envelope.quantization else None),
    ] = None
    """The format of the weights (``quantization.format``)."""
    quantization_method: Annotated[
        str | None,
        Stated(lambda of: of.envelope.quantization.method if of.envelope.quantization else None),
    ] = None
    """The way in which the weights were quantised (``quantization.method``)."""
    dataset_hash: Annotated[str | None, Stated(lambda of: of.envelope.dataset.hash)] = None
    """SHA-256 of the prompts, in hex (``dataset.hash``)."""
    # As a text, because an envelope may hold a seed that is too large for a column of integers.
    seed: Annotated[str | None, Stated(lambda of: str(of.envelope.seed))] = None
    """The seed of the run (``seed``), in decimal digits."""
    binds_traces: Annotated[
        bool | None, Stated(lambda of: TRACES_FILE in of.envelope.distributions)
    ] = None
    """True when the envelope states the digest of its traces (``distributions``)."""
    valid: Annotated[bool | None, Stated(lambda of: of.invalid_reason is None)] = None
    """True when the measurement passed its own validity checks, as far as it states some."""
    invalid_reason: Annotated[str | None, Stated(lambda of: of.invalid_reason)] = None
    """The reason why this is no valid measurement; null when it is one."""


def suite_words(suite_id: str | None, version: str | None) -> str | None:
    """Return a suite and its version in one string."""
    return f"{suite_id} {version}" if suite_id is not None else None


def marks(model: type[BaseModel], kind: type[Stated] | type[Shown]) -> dict[str, Any]:
    """Return the marks of one kind on the fields of ``model``, by the names of the fields."""
    return {
        name: mark
        for name, field in model.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, kind)
    }


_ARROW: Final[dict[object, pa.DataType]] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def _arrow_type(annotation: object) -> pa.DataType:
    """Return the type of the Arrow column that holds a field.

    Raises:
        KeyError: a field has a type that no column of the index holds.
    """
    # Every column may be null, since an envelope of somebody else may state nothing of it.
    (held,) = {*get_args(annotation)} - {NoneType}
    return _ARROW[getattr(held, "__origin__", held)]


STATED: Final[dict[str, Callable[[EnvelopeSource], object]]] = {
    name: mark.of for name, mark in marks(EnvelopeFacts, Stated).items()
}
"""The columns that an envelope decides, and how each is read."""
FACTS_SCHEMA: Final = pa.schema(
    [
        pa.field("repo_id", pa.string()),
        *(
            pa.field(name, _arrow_type(EnvelopeFacts.model_fields[name].annotation))
            for name in STATED
        ),
    ]
)
"""The Arrow schema of those columns, with the repository that each envelope is of."""
