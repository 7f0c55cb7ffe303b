"""The parts of a record without traces that make it the same record again."""

from __future__ import annotations

import json

from inferencebench_pipeline.corpus.examination import _body_sha256
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import ORG, record


def test_spelling_a_record_otherwise_makes_no_other_record() -> None:
    data = record(new_run_id(), f"{ORG}/one")["envelope.json"]
    document = json.loads(data)
    same = [
        json.dumps(document, indent=7),
        json.dumps({**document, "run_id": new_run_id(), "timestamp": "2026-01-01T00:00:00Z"}),
        json.dumps({**document, "suite_id": f"  {document['suite_id']} "}),
        json.dumps(dict(reversed(document.items()))),
    ]
    other = json.dumps({**document, "seed": document["seed"] + 1})
    digests = {_body_sha256(item) for item in (data, *(text.encode() for text in same))}
    assert len(digests) == 1
    assert _body_sha256(other.encode()) not in digests
