"""The corpus statement: what it says, and every way in which one must not be believed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.trust.verify.bundle import parse_bundle, verify_statement
from inferencebench_pipeline.trust.verify.corpus_statement import (
    STATEMENT_SUITE,
    TABLE_FILE,
    CorpusRow,
    NewerStatementError,
    StatementRejectedError,
    build_statement,
    column_digests,
    logged_digests,
    verify_corpus_statement,
)
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, parse_policy
from tests.envelope.measured import measurement_of, traces_bytes
from tests.paths import REPOSITORY
from tests.trust.conftest import World

ROWS = [
    CorpusRow(
        repo_id=f"example-org/run-{number}",
        revision=hashlib.sha1(b"%d" % number).hexdigest(),
        created_day="2026-05-18",
        run_id=f"run {number}",
        envelope_sha256=hashlib.sha256(b"%d" % number).hexdigest(),
        traces_sha256=hashlib.sha256(b"traces %d" % number).hexdigest() if number % 2 else None,
    )
    for number in range(5)
]
INDEX = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("leaderboard.json", "data/a")}
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def statement(world: World, rows: list[CorpusRow] = ROWS) -> bytes:
    return build_statement(
        rows,
        INDEX,
        organisation=world.organisation,
        policy_sha256=world.policy.sha256,
        trust_root_sha256=world.trust.sha256,
        verified_at=AT,
    )


def of_version_1(data: bytes) -> bytes:
    """The statement as releases before made it, without our field of the predicate."""
    document = json.loads(data)
    del document["predicate"]["inferencebench_corpus"]
    return json.dumps(document).encode()


def signed(world: World, data: bytes, **settings: Any) -> bytes:
    return world.signer(**settings).sign_statement(data, suite_id=STATEMENT_SUITE)


def examine(world: World, bundle: bytes, **changes: Any):
    settings = {"trust": world.trust, "policy": world.policy, "organisation": world.organisation}
    return verify_corpus_statement(bundle, **settings | changes)


@pytest.mark.parametrize("version", [1, 2])
def test_a_signed_statement_names_every_envelope_and_the_rules(world: World, version: int):
    found = examine(world, signed(world, statement(world), rekor_version=version))

    assert found.subjects == {row.envelope_sha256: row.repo_id for row in ROWS}
    assert found.version == 2
    assert found.summary.corpus is not None
    assert found.summary.corpus.files == INDEX
    assert found.summary.corpus.table.rows == len(ROWS)
    assert found.summary.policy.digest.sha256 == world.policy.sha256
    assert found.summary.trust_root.digest.sha256 == world.trust.sha256
    assert (found.summary.counts.envelopes, found.summary.time_verified) == (5, AT)


def test_the_same_corpus_gives_the_same_bytes(world: World):
    assert statement(world, ROWS[::-1]) == statement(world)


def test_a_column_is_a_json_array_that_anybody_computes():
    """The definition in docs/trust.md, by another program than ours."""
    ordered = sorted(ROWS, key=lambda row: (row.envelope_sha256, row.repo_id))
    texts = {
        name: json.dumps([getattr(row, name) for row in ordered], separators=(",", ":"))
        for name in CorpusRow._fields
    }
    expected = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    assert column_digests(reversed(ROWS)) == expected


def test_the_command_of_the_documentation_computes_a_column(tmp_path: Path):
    """A reader without our code needs no more than DuckDB and a SHA-256."""
    text = (REPOSITORY / "docs/trust.md").read_text()
    (query,) = re.findall(r'duckdb -noheader -list -c "(.*?)"', text, re.DOTALL)
    rows = [*ROWS, ROWS[0]._replace(repo_id="example-org/a/\u00e9", revision=None)]
    table = pa.table({name: [getattr(row, name) for row in rows] for name in CorpusRow._fields})
    pq.write_table(table, tmp_path / TABLE_FILE)
    for name, digest in column_digests(rows).items():
        asked = query.replace("revision", name).replace(TABLE_FILE, str(tmp_path / TABLE_FILE))
        (answer,) = duckdb.sql(asked).fetchall()
        assert hashlib.sha256(answer[0].encode()).hexdigest() == digest, name


def test_the_size_of_what_is_bound_besides_envelopes_does_not_grow_with_them(world: World):
    bound = {
        len(rows): len(statement(world, rows)) - len(of_version_1(statement(world, rows)))
        for rows in (ROWS, ROWS[:1])
    }
    assert abs(bound[5] - bound[1]) < 200


def test_a_statement_of_an_earlier_release_verifies_and_says_its_version(world: World):
    found = examine(world, signed(world, of_version_1(statement(world))))

    assert (found.version, found.summary.corpus) == (1, None)
    assert found.subjects == {row.envelope_sha256: row.repo_id for row in ROWS}


def test_a_statement_of_a_later_version_is_told_apart_from_a_bad_one(world: World):
    document = json.loads(statement(world))
    document["predicate"]["inferencebench_corpus"] = {"version": 3, "another": "form"}

    with pytest.raises(NewerStatementError, match="is of version 3, and this verifier reads up to"):
        examine(world, signed(world, json.dumps(document).encode()))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (b'"subject":[', b'"subject":[],"subject":[', "'subject' twice"),
        (b'"verifiedLevels":', b'"verifiedLevels":[],"verifiedLevels":', "'verifiedLevels' twice"),
        (b'"sha256":', b'"sha256":"00","sha256":', "'sha256' twice"),
        (b'"rows":5', b'"rows":NaN', "is not JSON"),
        (b'"rows":5', b'"rows":Infinity', "is not JSON"),
        (b'"trustRoot":', b'"trust_root":', "cannot be read"),
    ],
)
def test_a_statement_that_readers_could_read_in_two_ways_is_refused(
    world: World, before: bytes, after: bytes, said: str
):
    data = statement(world)
    assert before in data

    with pytest.raises(StatementRejectedError, match=said):
        examine(world, signed(world, data.replace(before, after)))


@pytest.mark.parametrize("version", [1, 2])
def test_the_log_knows_a_statement_by_a_digest_that_is_known_beforehand(world: World, version: int):
    data = statement(world)
    bundle = parse_bundle(signed(world, data, rekor_version=version))
    body = json.loads(bundle.log_entry._inner.canonicalized_body)

    spec = body["spec"]
    logged = (
        spec["payloadHash"]["value"]
        if version == 1
        else base64.b64decode(spec["hashedRekordV002"]["data"]["digest"]).hex()
    )
    assert logged in logged_digests(data)


def test_a_statement_about_another_corpus_is_refused(world: World):
    """Signed by somebody who may sign for both organisations: what it says decides."""
    both = parse_policy(
        b"version: 1\nsigners:\n"
        + b"".join(
            f"- {{organisation: {name}, suites: ['*'], "
            f"issuer: {world.policy.signers[0].issuer}, "
            f"identity: {world.policy.signers[0].identity}, "
            "valid_from: 2020-01-01T00:00:00Z}\n".encode()
            for name in (world.organisation, "another")
        ),
        where="the test",
    )
    with pytest.raises(StatementRejectedError, match="is about hf://datasets/"):
        examine(world, signed(world, statement(world)), policy=both, organisation="another")


def test_a_stranger_may_not_state_a_corpus(world: World):
    bundle = signed(
        world, statement(world), identity=world.identity("mallory@example.org"), policy=None
    )

    with pytest.raises(StatementRejectedError, match="identity_policy"):
        examine(world, bundle)


def test_a_signer_of_envelopes_may_not_state_a_corpus_unless_the_policy_says_so(world: World):
    (rule,) = world.policy.signers
    narrow = IdentityPolicy(
        version=1,
        signers=(rule.model_copy(update={"suites": ("llm.inference.*",)}),),
        sha256="ab" * 32,
    )
    with pytest.raises(StatementRejectedError, match=r"inferencebench\.corpus-statement"):
        examine(world, signed(world, statement(world)), policy=narrow)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda doc: doc["predicate"].update(verificationResult="FAILED"), "cannot be read"),
        (lambda doc: doc["predicate"].update(verifiedLevels=["OTHER"]), "does not say"),
        (lambda doc: doc.update(predicateType="https://example.org/x"), "is of type"),
        (lambda doc: doc["subject"].append(doc["subject"][0]), "names 6 subjects"),
        (lambda doc: doc["subject"].pop(), "names 4 subjects"),
        (lambda doc: doc["subject"][0]["digest"].update(sha256="A" * 64), "5 digests"),
        (lambda doc: doc["subject"][0].update(digest={"sha512": "0"}), "cannot be read"),
        (lambda doc: doc["predicate"].update(inferencebench_corpus=[]), "cannot be read"),
        (lambda doc: bound_in(doc).update(version="2"), "cannot be read"),
        (lambda doc: bound_in(doc)["table"]["columns"].pop("revision"), "binds the columns"),
        (lambda doc: bound_in(doc)["index"].append(bound_in(doc)["index"][0]), "a file .* twice"),
        (lambda doc: bound_in(doc)["index"][0].update(name="../x"), "which is no path"),
        (lambda doc: bound_in(doc)["index"][0].update(name="/etc/x"), "which is no path"),
        (lambda doc: bound_in(doc)["index"][0].update(name="data//x"), "which is no path"),
    ],
)
def test_a_well_signed_statement_that_does_not_add_up_is_refused(
    world: World, change: Any, said: str
):
    document = json.loads(statement(world))
    change(document)

    with pytest.raises(StatementRejectedError, match=said):
        examine(world, signed(world, json.dumps(document).encode()))


@pytest.mark.parametrize("key", [b'"dsseEnvelope":', b'"payload":', b'"mediaType":', b'"sig":'])
def test_a_key_that_stands_twice_in_the_bundle_is_refused(world: World, key: bytes):
    bundle = signed(world, statement(world))
    text = re.sub(rb'":\s+', b'":', bundle)
    assert examine(world, text)
    assert key in text

    for value in (b"null", b'"another"', b"NaN"):
        twice = text.replace(key, key + value + b"," + key, 1)
        with pytest.raises(StatementRejectedError, match="bundle_format"):
            examine(world, twice)


def bound_in(document: dict[str, Any]) -> dict[str, Any]:
    """Our field of a statement's predicate."""
    return document["predicate"]["inferencebench_corpus"]


def test_no_part_of_the_bundle_can_be_changed(world: World):
    document = json.loads(signed(world, statement(world)))
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    payload["subject"][0]["digest"]["sha256"] = "0" * 64
    forged = json.loads(json.dumps(document))
    forged["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()

    with pytest.raises(StatementRejectedError, match="bundle_verifies"):
        examine(world, json.dumps(forged).encode())
    with pytest.raises(StatementRejectedError, match="bundle_format"):
        examine(world, b"{}")


def test_an_envelopes_signature_is_no_statement(world: World):
    run_id = new_run_id()
    envelope = world.signer().sign(build_envelope(measurement_of(run_id, traces_bytes(run_id))))
    assert envelope.signature is not None

    with pytest.raises(StatementRejectedError, match="bundle_verifies"):
        examine(world, base64.b64decode(envelope.signature.bundle))


def test_the_payload_is_returned_as_it_was_signed(world: World):
    data = statement(world)

    payload, _ = verify_statement(parse_bundle(signed(world, data)), world.trust)

    assert payload == data
