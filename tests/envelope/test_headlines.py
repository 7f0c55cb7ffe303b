"""The headline metrics of an envelope, with and without this pipeline's notes."""

from __future__ import annotations

from typing import Any

import pytest

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.headlines import headline
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.envelope.reading import ReadEnvelope
from tests.envelope.measured import measurement_of, traces_bytes

RUN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def test_headlines_carry_label_unit_and_samples() -> None:
    envelope = build_envelope(measurement_of(RUN_ID, traces_bytes(RUN_ID)))
    entries = headline(ReadEnvelope(envelope))
    assert entries
    assert all(entry.label and entry.unit and entry.n is not None for entry in entries)
    assert [entry.value for entry in entries] == [envelope.metrics[e.key] for e in entries]
    notes = ReadEnvelope(envelope).extension.metric_notes  # type: ignore[union-attr]
    for entry in entries:
        note = notes[entry.key]
        assert (entry.unit, entry.n, entry.null_reason) == (note.unit, note.n, note.null_reason)
        assert (entry.interval is None) == (note.interval is None)


@pytest.mark.parametrize(
    "extension",
    [
        3,
        {"metric_notes": 3},
        {"metric_notes": {"error_rate": 3}},
        {"metric_notes": {"error_rate": {"n": -1, "unit": "x"}}},
    ],
)
def test_notes_in_another_form_leave_the_numbers(extension: Any) -> None:
    envelope = build_envelope(measurement_of(RUN_ID, traces_bytes(RUN_ID)))
    document = envelope.model_dump(mode="json") | {"inferencebench_pipeline": extension}
    entries = headline(ReadEnvelope(Envelope.model_validate(document)))
    assert [entry.key for entry in entries] == [
        entry.key for entry in headline(ReadEnvelope(envelope))
    ]
    assert all(entry.n is None and entry.unit for entry in entries)


def test_headlines_of_another_writer_have_no_sample_counts(minimal: Any) -> None:
    entries = headline(ReadEnvelope(Envelope.model_validate(minimal)))
    assert all(entry.n is None for entry in entries)
