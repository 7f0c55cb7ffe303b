"""The statements that a traces file and an envelope both make about a run, held together.

A digest binds the file, and the metrics follow from its columns. Neither says that the file is of
this run: traces of another run under this one's id, or of two requests at a time under an envelope
that says 512, would pass. So each field that both state stands in one table here, with where each
of the two states it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from inferencebench_pipeline.envelope import (
    Envelope,
    EnvelopeError,
    PipelineExtension,
    pipeline_extension,
)
from inferencebench_pipeline.measure import Traces
from inferencebench_pipeline.trust.verify.times import CLOCK_TOLERANCE
from inferencebench_pipeline.untrusted import parse_unambiguous_json, shortened

_MOST_JSON_BYTES: Final = 2**20
_LONGEST_FINISH: Final = timedelta(days=1)
"""A run ends with its last request, but for the counting of tokens and the engine's own account of
it, which take minutes."""
_STATED_TOGETHER: Final = frozenset(
    {"model", "seed", "workload_sha256", "schedule_sha256", "finished_at"}
)
"""The statements that traces began with together."""
_NS_PER_US: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UnstatedError(ValueError):
    """One of the two does not state a field, as those of an older version need not."""


@dataclass(frozen=True)
class Statement:
    """One field, as the traces and the envelope state it."""

    field: str
    traces: object
    envelope: object


@dataclass(frozen=True)
class Statements:
    """The fields that both state, and why each of the others cannot be compared."""

    stated: tuple[Statement, ...]
    skipped: dict[str, str]

    def contradictions(self) -> list[str]:
        """Return one sentence for each value that the two state differently; empty when none."""
        return [
            f"{field} is {shortened(traces)} in the traces, {shortened(envelope)} in the envelope"
            for each in self.stated
            for field, traces, envelope in _differing(each.field, each.traces, each.envelope)
        ]


def statements_of(envelope: Envelope, traces: Traces) -> Statements:
    """Return everything that an envelope and its traces both state.

    Raises:
        ValueError: what every version of the traces or of our envelopes states is missing, or
            cannot be read.
    """
    told, claimed = _Told(traces), _Claimed(envelope)
    stated, skipped = [], {}
    for field, (from_traces, from_envelope) in _FIELDS.items():
        try:
            stated.append(Statement(field, from_traces(told), from_envelope(claimed)))
        except UnstatedError as error:
            skipped[field] = str(error)
    stated.append(Statement("timestamp", *_end(told, claimed)))
    return Statements(tuple(stated), skipped)


class _Told:
    """The statements of a traces file about its run: in its metadata, and by its rows."""

    def __init__(self, traces: Traces) -> None:
        self._rows = traces.rows
        self._metadata = traces.metadata

    def text(self, key: str) -> str:
        """Return what every version of the traces states."""
        if key not in self._metadata:
            raise ValueError(f"the traces do not state {key}, which every version of them does")
        return self._metadata[key]

    def later(self, key: str) -> str:
        """Return what the traces state since a later version."""
        if key not in self._metadata:
            beside = sorted(_STATED_TOGETHER & self._metadata.keys())
            if key in _STATED_TOGETHER and beside:
                raise ValueError(
                    f"the traces state {', '.join(beside)} and not {key}, which every version that "
                    "states one of them does"
                )
            raise UnstatedError("the traces are of a version that does not state it")
        return self._metadata[key]

    def json(self, key: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        return _json(key, self.text(key))

    def energy(self) -> list[list[object]]:
        stated = _json("energy", self.later("energy"))
        try:
            return [[each["joules"], each["source"]] for each in stated]
        except (LookupError, TypeError) as error:
            raise ValueError("energy in the traces' metadata is in no form that we know") from error

    def repeats(self) -> int:
        return len(np.unique(self._column("repeat")))

    def requests_of_each_repeat(self, phase: str) -> list[int]:
        """Return the different numbers of requests that the repeats have in a phase."""
        repeat, number = np.unique(self._column("repeat"), return_inverse=True)
        chosen = self._column("phase") == phase
        counts = np.bincount(number[chosen], minlength=len(repeat))
        return sorted(set(counts.tolist()))

    def retried(self) -> int:
        return int((self._column("attempt") > 1).sum())

    def last_instant(self) -> datetime:
        """Return when the last request ended, rounded down to the microsecond.

        Raises:
            ValueError: the origin is no number, or lies beyond what a calendar has.
        """
        ends = self._column("end_ns")
        last = int(self.text("origin_unix_ns")) + (int(ends.max()) if len(ends) else 0)
        try:
            return _EPOCH + timedelta(microseconds=last // _NS_PER_US)
        except OverflowError as error:
            raise ValueError(f"the traces end {last} ns after 1970, which is no date") from error

    def _column(self, name: str) -> Any:  # noqa: ANN401 - an array of the column's integers
        return self._rows.column(name).to_numpy()


class _Claimed:
    """The statements of an envelope about its run."""

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope

    @cached_property
    def extension(self) -> PipelineExtension:
        try:
            extension = pipeline_extension(self.envelope)
        except EnvelopeError:
            extension = None
        if extension is None:
            raise UnstatedError("the envelope has no notes of this pipeline that can be read")
        return extension

    def option(self, key: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Return what every envelope of ours states of the load."""
        if key not in self.envelope.driver_options:
            raise ValueError(f"the envelope does not state driver_options.{key}")
        return self.envelope.driver_options[key]

    def spec(self, key: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        stated = self.envelope.driver_options.get("spec")
        if not isinstance(stated, dict) or key not in stated:
            raise UnstatedError("the envelope does not state the spec of its run")
        return stated[key]

    def requests(self, key: str) -> list[object]:
        """Return a number of requests that the load asks for, which each repeat has."""
        load = self.option("load")
        if not isinstance(load, dict) or key not in load:
            raise ValueError(f"the envelope does not state driver_options.load.{key}")
        return [load[key]]

    def repeats(self) -> int:
        if self.extension.conduct is None:
            raise UnstatedError("the envelope is of a version that does not state it")
        return self.extension.conduct.conduct.repeats

    def energy(self) -> list[list[object]]:
        telemetry = self.extension.telemetry
        if telemetry is None:
            raise UnstatedError("the envelope states no telemetry")
        # The traces state no energy where none can be reported, nor one of 0.
        return [[each.reportable_joules or None, each.source] for each in telemetry.energy]


_FIELDS: Final[dict[str, tuple[Callable[[_Told], object], Callable[[_Claimed], object]]]] = {
    "run_id": (lambda told: told.text("run_id"), lambda claimed: claimed.envelope.run_id),
    "load": (lambda told: told.json("load"), lambda claimed: claimed.option("load")),
    "workload": (lambda told: told.json("workload"), lambda claimed: claimed.option("workload")),
    "spec.load": (lambda told: told.json("load"), lambda claimed: claimed.spec("load")),
    "spec.workload": (lambda told: told.json("workload"), lambda claimed: claimed.spec("workload")),
    "requests": (
        lambda told: told.requests_of_each_repeat("measured"),
        lambda claimed: claimed.requests("requests"),
    ),
    "warmup_requests": (
        lambda told: told.requests_of_each_repeat("warmup"),
        lambda claimed: claimed.requests("warmup_requests"),
    ),
    "repeats": (lambda told: told.repeats(), lambda claimed: claimed.repeats()),
    "retried_requests": (
        lambda told: told.retried(),
        lambda claimed: claimed.extension.client.retried_requests,
    ),
    "energy": (lambda told: told.energy(), lambda claimed: claimed.energy()),
    "model": (lambda told: told.later("model"), lambda claimed: claimed.envelope.model.id),
    "seed": (lambda told: int(told.later("seed")), lambda claimed: claimed.envelope.seed),
    "workload_hash": (
        lambda told: told.later("workload_sha256"),
        lambda claimed: claimed.extension.workload_hash,
    ),
    "schedule_hash": (
        lambda told: told.later("schedule_sha256"),
        lambda claimed: claimed.extension.schedule_hash,
    ),
    "finished_at": (
        lambda told: told.later("finished_at"),
        lambda claimed: claimed.envelope.timestamp.astimezone(UTC).isoformat(),
    ),
}
"""Each field that both state: where the traces do, and where the envelope does. Numbers of requests
are those of each repeat, which are all alike."""


def _end(told: _Told, claimed: _Claimed) -> tuple[object, object]:
    """Return the end of the run as both state it: equal when one can be the other's."""
    last, timestamp = told.last_instant(), claimed.envelope.timestamp
    if last - CLOCK_TOLERANCE <= timestamp <= last + _LONGEST_FINISH:
        return timestamp.isoformat(), timestamp.isoformat()
    return last.isoformat(), timestamp.isoformat()


def _json(key: str, text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    what = f"{key} in the traces' metadata"
    return parse_unambiguous_json(text.encode(), what=what, max_bytes=_MOST_JSON_BYTES)


def _differing(
    field: str, traces: object, envelope: object
) -> Iterator[tuple[str, object, object]]:
    """Yield the innermost values that differ, with the path of each."""
    if isinstance(traces, dict) and isinstance(envelope, dict):
        published = field.startswith("spec.")
        for key in dict.fromkeys((*traces, *envelope)):
            # The published spec leaves out what is private to the machine that measured.
            if not (published and key not in envelope):
                yield from _differing(f"{field}.{key}", traces.get(key), envelope.get(key))
    elif not _same(traces, envelope) and not _is_name_of(envelope, traces, field):
        yield field, traces, envelope


def _same(traces: object, envelope: object) -> bool:
    # To Python True is 1, and to a reader of JSON it is not.
    return traces == envelope and isinstance(traces, bool) == isinstance(envelope, bool)


def _is_name_of(stated: object, path: object, field: str) -> bool:
    """Return whether a published spec names a file whose path is stated elsewhere."""
    return (
        field.startswith("spec.")
        and isinstance(path, str)
        and isinstance(stated, str)
        and PurePath(path).name == stated
    )
