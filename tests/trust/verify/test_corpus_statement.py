"""The corpus statement: what it says, and every way in which one must not be believed."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.trust.verify.bundle import parse_bundle, verify_statement
from inferencebench_pipeline.trust.verify.corpus_statement import (
    STATEMENT_SUITE,
    Counts,
    StatementRejectedError,
    Subject,
    build_statement,
    logged_digests,
    verify_corpus_statement,
)
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, parse_policy
from tests.envelope.measured import measurement_of, traces_bytes
from tests.trust.conftest import World

SUBJECTS = [
    Subject(f"example-org/run-{number}", hashlib.sha256(b"%d" % number).hexdigest())
    for number in range(5)
]
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def statement(world: World, subjects: list[Subject] = SUBJECTS, count: int | None = None) -> bytes:
    return build_statement(
        subjects,
        organisation=world.organisation,
        policy_sha256=world.policy.sha256,
        trust_root_sha256=world.trust.sha256,
        counts=Counts(envelopes=len(subjects) if count is None else count, with_traces=3, days=2),
        verified_at=AT,
    )


def signed(world: World, data: bytes, **settings: Any) -> bytes:
    return world.signer(**settings).sign_statement(data, suite_id=STATEMENT_SUITE)


def examine(world: World, bundle: bytes, **changes: Any):
    settings = {"trust": world.trust, "policy": world.policy, "organisation": world.organisation}
    return verify_corpus_statement(bundle, **settings | changes)


@pytest.mark.parametrize("version", [1, 2])
def test_a_signed_statement_names_every_envelope_and_the_rules(world: World, version: int):
    found = examine(world, signed(world, statement(world), rekor_version=version))

    assert found.subjects == {item.sha256: item.name for item in SUBJECTS}
    assert found.summary.policy.digest.sha256 == world.policy.sha256
    assert found.summary.trust_root.digest.sha256 == world.trust.sha256
    assert (found.summary.counts.envelopes, found.summary.time_verified) == (5, AT)


def test_the_same_corpus_gives_the_same_bytes(world: World):
    assert statement(world, SUBJECTS[::-1]) == statement(world)


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
    ],
)
def test_a_well_signed_statement_that_does_not_add_up_is_refused(
    world: World, change: Any, said: str
):
    document = json.loads(statement(world))
    change(document)

    with pytest.raises(StatementRejectedError, match=said):
        examine(world, signed(world, json.dumps(document).encode()))


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
