"""Documents of strangers are refused in our own words: no reader is surprised by any JSON.

Two kinds of input: envelopes with one nasty value, given to everything that reads an envelope; and
JSON that other readers have crashed on, given to everything that reads a document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from starlette.testclient import TestClient

from inferencebench_pipeline.cli.measurement.measuring import own_engine
from inferencebench_pipeline.cli.targets import envelopes as envelopes_at
from inferencebench_pipeline.community_results.logs import Reading, read_log
from inferencebench_pipeline.community_results.quality_result import parse_quality_result, read_file
from inferencebench_pipeline.community_results.register import REGISTER_FILE as EVALUATIONS_FILE
from inferencebench_pipeline.community_results.register import load_evaluations
from inferencebench_pipeline.community_results.results_file import BenchmarkTask, parse_entries
from inferencebench_pipeline.envelope.canonical import (
    EnvelopeError,
    content_hash,
    parse_envelope,
    parse_unambiguous,
    serialise,
)
from inferencebench_pipeline.envelope.extension import pipeline_extension, traces_binding
from inferencebench_pipeline.envelope.reading import ReadEnvelope, read_unambiguous
from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.dataset.card import render_card
from inferencebench_pipeline.hub.dataset.naming import dataset_repo_id
from inferencebench_pipeline.hub.takedowns.register import REGISTER_FILE as TAKEDOWNS_FILE
from inferencebench_pipeline.hub.takedowns.register import load_takedowns
from inferencebench_pipeline.hub.webhooks import webhook_app
from inferencebench_pipeline.leaderboard.analysis.comparison import compare, read_run
from inferencebench_pipeline.measure.run.replay import replayed_spec
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.trust.root.trust_root import parse_trust
from inferencebench_pipeline.trust.verify.bundle import parse_bundle, require_subject
from inferencebench_pipeline.trust.verify.verifier import verify_envelope
from tests.attacks.nasty import NASTY, Place, acting, places, with_value
from tests.chance import drawn
from tests.corpus.world import ORG, TRUST, policy, record

BASE: Final = record(new_run_id(), f"{ORG}/base")["envelope.json"]
OTHER: Final = record(new_run_id(), f"{ORG}/other")["envelope.json"]
PLAIN: Final[dict[str, Any]] = json.loads(BASE)
EVERYTHING: Final = [(place, name) for place in places(PLAIN) for name in NASTY]

DOCUMENTS: Final = {
    "nothing": b"",
    "null": b"null",
    "a number": b"1",
    "a text": b'"x"',
    "a list": b"[]",
    "an object": b"{}",
    "lists": b"[" * 100_000,
    "objects": b'{"a":' * 100_000,
    "closed lists": b"[" * 900 + b"]" * 900,
    "digits": b'{"value":' + b"9" * 5000 + b"}",
    "a large number": b'{"value": 1e999, "n": -9223372036854775809}',
    "no number": b'{"value": NaN, "other": Infinity}',
    "half a pair": b'{"value": "\\ud800", "\\udfff": 1}',
    "NUL": b'{"value": "\\u0000"}',
    "raw NUL": b"\0" * 100,
    "twice": b'{"a": 1, "a": 2}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "no UTF-8": b'{"a": "\xff"}',
    "cut": b'{"a": [1, 2',
    "acting": '{"status": "\u001b[2J", "eval": {"\u202e": 1}}'.encode(),
    "log": b'{"eval": [], "status": "success"}',
    "log of another form": b'{"eval": {}, "status": "success", "results": {"scores": [1]}}',
    "lighteval": b'{"config_general": 5, "results": {"all": []}}',
    "trust": b'{"mediaType": 5}',
    "statement": b'{"_type": {}, "subject": [1], "predicate": null}',
    "subjects": b'{"subject": [{"digest": 1}, {"digest": {"sha256": []}}]}',
    "register": b'{"results": [{}], "takedowns": 5}',
    "webhook": b'{"event": {"scope": "repo"}, "repo": {"type": 1}, "updatedRefs": [[]]}',
}
TASK: Final = BenchmarkTask(id="org/bench", task_id="sums")


def uses_of_an_envelope(data: bytes) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield everything that a stranger's envelope is given to."""
    rules = policy()
    yield (
        "verify",
        lambda: verify_envelope(
            data, trust=TRUST, policy=rules, organisation=ORG, traces=None
        ).model_dump_json(),
    )
    try:
        envelope = parse_envelope(data)
    except EnvelopeError as error:
        assert not acting(str(error))
        return
    yield "hash", lambda: content_hash(envelope)
    yield (
        "card",
        lambda: render_card(ReadEnvelope(envelope), "a/b", signer=None, endpoint="https://hub"),
    )
    yield "name", lambda: dataset_repo_id("org", envelope)
    yield "compare", lambda: compare([read_run(data, "a")], [read_run(OTHER, "b")])
    yield "write", lambda: serialise(envelope)
    yield "extension", lambda: pipeline_extension(envelope)
    yield "traces", lambda: traces_binding(envelope)
    engine, model = own_engine("http://127.0.0.1:9/v1", "m")
    yield (
        "replay",
        lambda: replayed_spec(envelope.driver_options, engine=engine, model=model, folder=Path()),
    )


def check_uses(attacks: list[tuple[Place, str]]) -> None:
    for place, name in attacks:
        data = json.dumps(with_value(PLAIN, place, NASTY[name])).encode()
        for use, call in uses_of_an_envelope(data):
            try:
                call()
            except PipelineError as error:
                assert not acting(str(error)), (place, name, use)
            except Exception as error:
                raise AssertionError(f"{use} was surprised by {name} in {place}") from error


def test_each_of_them_uses_a_good_envelope() -> None:
    assert [call() for _, call in uses_of_an_envelope(BASE)]


def test_no_use_of_an_envelope_is_surprised_by_one_value() -> None:
    known: list[tuple[Place, str]] = [
        (("timestamp",), "year 1"),
        (("timestamp",), "year 9999"),
        (("driver_options", "spec", "name"), "half a pair"),
        (("metrics", "error_rate_other"), "10^400"),
    ]
    check_uses([*known, *drawn("values in an envelope", EVERYTHING, 150)])


@pytest.mark.nightly
@pytest.mark.parametrize("shard", range(10))
def test_no_use_of_an_envelope_is_surprised_by_any_value(shard: int) -> None:
    check_uses(EVERYTHING[shard::10])


def readers(folder: Path) -> dict[str, Callable[[bytes], object]]:
    """Return everything that reads a document which a stranger or a disk may have changed."""

    def stored(name: str, load: Callable[[Path], object]) -> Callable[[bytes], object]:
        def read(data: bytes) -> object:
            (folder / name).write_bytes(data)
            return load(folder)

        return read

    def from_file(data: bytes) -> object:
        path = folder / "envelope.json"
        path.write_bytes(data)
        return [read_run(found, where) for where, found in envelopes_at(str(path), _no_hub)]

    return {
        "envelope": parse_envelope,
        "unambiguous": parse_unambiguous,
        "reading": read_unambiguous,
        "target": from_file,
        "log": lambda data: read_log(data, Reading(TASK, "exact/mean"), filename="x.json"),
        "quality result": lambda data: parse_quality_result(data, filename="x.json"),
        "results": lambda data: parse_entries(data, filename="x.yaml"),
        "trust": lambda data: parse_trust(data, where="x"),
        "bundle": parse_bundle,
        "statement": lambda data: require_subject(data, b"artifact"),
        "takedowns": stored(TAKEDOWNS_FILE, load_takedowns),
        "evaluations": stored(EVALUATIONS_FILE, load_evaluations),
    }


def _no_hub() -> Any:
    raise AssertionError("no Hub is asked")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_reader_of_documents_is_surprised(tmp_path: Path, name: str) -> None:
    for reader, read in readers(tmp_path).items():
        try:
            read(DOCUMENTS[name])
        except Exception as error:
            ours = isinstance(error, PipelineError) or type(error).__name__ == "BundleRejectedError"
            if not ours:
                raise AssertionError(f"{reader} was surprised") from error
            assert not acting(str(error)), reader


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_webhook_body_is_more_than_a_bad_request(tmp_path: Path, name: str) -> None:
    receiver = TestClient(webhook_app(tmp_path, lambda: "s" * 32))
    answer = receiver.post("/", content=DOCUMENTS[name], headers={"x-webhook-secret": "s" * 32})
    assert answer.status_code in {200, 400, 413}
    assert answer.json() != {"nudged": True}


def test_a_file_without_an_end_is_not_read_to_its_end() -> None:
    with pytest.raises(PipelineError, match="larger than"):
        list(envelopes_at("@/dev/zero", _no_hub))
    with pytest.raises(PipelineError, match="larger than"):
        read_file(Path("/dev/zero"))
