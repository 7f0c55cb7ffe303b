"""A record of a later version is newer, and not rejected; what nobody signed is never newer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from inferencebench_pipeline.envelope.canonical import (
    EnvelopeError,
    canonical_body,
    parse_envelope,
    parse_unambiguous,
)
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.measure.metric_definitions import METRIC_DEFINITIONS_VERSION
from inferencebench_pipeline.measure.traces.schema_history import TRACES_SCHEMA_VERSION
from inferencebench_pipeline.measure.version_numbers import is_later_version
from inferencebench_pipeline.trust.verify.required_signer import Name, RequiredSigner, policy_for
from inferencebench_pipeline.trust.verify.verdict import (
    RULES_VERSION,
    VERIFIER_VERSION,
    CheckStatus,
    FailureClass,
    Outcome,
    Verdict,
    outcome_of,
)
from tests.trust.conftest import World
from tests.trust.records import Signed, assert_rejected, encode

LATER = str(int(METRIC_DEFINITIONS_VERSION) + 1)
LATER_SCHEMA = str(int(TRACES_SCHEMA_VERSION) + 1)


def definitions(document: dict[str, Any], version: object) -> None:
    document["inferencebench_pipeline"]["metric_definitions"] = version


def schema(document: dict[str, Any], version: str) -> None:
    bound = document["distributions"]["traces.parquet"]
    document["distributions"]["traces.parquet"] = f"{bound.rpartition('=')[0]}={version}"


def envelope_version(document: dict[str, Any], version: str) -> None:
    document["envelope_version"] = version


LATER_RECORDS = {
    "definitions": (definitions, LATER, f"metric definitions {LATER}"),
    "definitions_of_the_far_future": (definitions, "999999999", "metric definitions 999999999"),
    "traces": (schema, LATER_SCHEMA, f"traces schema {LATER_SCHEMA}"),
    "envelope": (envelope_version, "v2", "envelope 2"),
}
later_records = pytest.mark.parametrize("kind", LATER_RECORDS)
NO_VERSIONS = ("two", "", "0", "-3", "3.0", " 3", "3 ", "03", "1e9", "٣", "9999999999", 3, None)


def signed_anew(world: World, document: dict[str, Any]) -> bytes:
    """Sign what a later release would have written, with the signer of this one."""
    document.pop("signature")
    unsigned = parse_unambiguous(encode(document))
    signed = world.signer().sign(unsigned)
    return encode(signed.model_dump(mode="json"))


def later(signed: Signed, kind: str) -> dict[str, Any]:
    document = signed.document
    change, version, _ = LATER_RECORDS[kind]
    change(document, version)
    return document


def assert_newer(verdict: Verdict, words: str) -> None:
    assert not verdict.ok
    assert verdict.outcome is Outcome.NEWER
    assert verdict.failure_class is FailureClass.NEWER_THAN_VERIFIER
    assert verdict.signer is not None
    assert words in verdict.reason
    assert CheckStatus.FAILED not in {check.status for check in verdict.checks}
    [check] = [check for check in verdict.checks if check.name == "versions_known"]
    assert check.status is CheckStatus.SKIPPED
    after = verdict.checks[verdict.checks.index(check) + 1 :]
    assert {each.name for each in after} == {
        "traces_hash",
        "traces_readable",
        "traces_agree",
        "metrics_rederive",
    }
    assert {each.detail for each in after} == {"not reached: versions_known could not be judged"}


@pytest.mark.parametrize("with_traces", [True, False], ids=["with_traces", "without"])
@later_records
def test_a_signed_record_of_a_later_version_is_newer(
    world: World, signed: Signed, kind: str, with_traces: bool
) -> None:
    data = signed_anew(world, later(signed, kind))
    verdict = world.verify(data, signed.traces if with_traces else None)
    assert_newer(verdict, LATER_RECORDS[kind][2])


@later_records
def test_what_nobody_signed_does_not_hide_behind_a_later_version(
    world: World, signed: Signed, kind: str
) -> None:
    document = later(signed, kind)
    assert world.verify(encode(document), signed.traces).failure_class is FailureClass.TAMPERED
    document["signature"] = None
    assert world.verify(encode(document), signed.traces).failure_class is FailureClass.UNSIGNED


@later_records
def test_a_stranger_does_not_hide_behind_a_later_version(
    world: World, signed: Signed, kind: str
) -> None:
    document = later(signed, kind)
    document.pop("signature")
    signer = world.signer(identity=world.identity("mallory@example.org"), policy=None)
    data = encode(signer.sign(parse_unambiguous(encode(document))).model_dump(mode="json"))
    verdict = world.verify(data, signed.traces)
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.failure_class is FailureClass.IDENTITY_NOT_ALLOWED


@pytest.mark.parametrize("version", NO_VERSIONS)
def test_a_version_that_is_none_is_wrong_and_not_new(
    world: World, signed: Signed, version: object
) -> None:
    document = signed.document
    definitions(document, version)
    verdict = world.verify(signed_anew(world, document), signed.traces)
    assert_rejected(verdict, "metrics_rederive", FailureClass.METRICS_DO_NOT_REDERIVE)


def test_earlier_definitions_go_with_the_traces_of_their_time(world: World, signed: Signed) -> None:
    document = signed.document
    definitions(document, "1")
    verdict = world.verify(signed_anew(world, document), signed.traces)
    assert_rejected(verdict, "metrics_rederive", FailureClass.METRICS_DO_NOT_REDERIVE)
    assert "definitions 1 are computed from traces in schema 1" in verdict.reason


def test_a_binding_in_no_known_form_is_not_new(world: World, signed: Signed) -> None:
    document = signed.document
    document["distributions"]["traces.parquet"] = f"sha512:{'a' * 64};rows=1;schema=99"
    verdict = world.verify(signed_anew(world, document), signed.traces)
    assert_rejected(verdict, "traces_hash", FailureClass.TRACES_MISMATCH)


def test_an_envelope_without_our_notes_names_no_later_version(world: World, signed: Signed) -> None:
    document = signed.document
    del document["inferencebench_pipeline"]
    verdict = world.verify(signed_anew(world, document), None)
    [check] = [check for check in verdict.checks if check.name == "versions_known"]
    assert check.status is CheckStatus.PASSED
    assert check.evidence["metric_definitions"] == "not stated"


def test_a_required_signer_is_required_of_a_newer_record(world: World, signed: Signed) -> None:
    data = signed_anew(world, later(signed, "definitions"))
    rule = world.policy.signers[0]

    def judged(identity: str) -> Verdict:
        required = RequiredSigner("the test", Name(rule.issuer), Name(identity))
        return world.verify(data, signed.traces, policy=policy_for(required))

    assert judged(str(rule.identity)).outcome is Outcome.NEWER
    other = judged("mallory@example.org")
    assert other.failure_class is FailureClass.IDENTITY_NOT_ALLOWED
    assert other.outcome is Outcome.REJECTED


class TestLaterEnvelopes:
    """An envelope after v1 is read for its signature, by the verifier alone."""

    @pytest.mark.parametrize("version", ["v2", "v10", "v999999999"])
    def test_only_the_verifier_reads_one(self, signed: Signed, version: str) -> None:
        document = signed.document | {"envelope_version": version}
        assert parse_unambiguous(encode(document)).envelope_version == version
        with pytest.raises(EnvelopeError, match="not a v1 envelope"):
            parse_envelope(encode(document))

    @pytest.mark.parametrize("version", ["v0", "v01", "V2", "2", "v", "v2.0", "v9999999999", 2])
    def test_what_is_no_later_version_is_malformed(self, signed: Signed, version: object) -> None:
        with pytest.raises(EnvelopeError, match="envelope_version"):
            parse_unambiguous(encode(signed.document | {"envelope_version": version}))

    def test_one_that_does_not_follow_v1_is_malformed(self, world: World, signed: Signed) -> None:
        document = signed.document | {"envelope_version": "v2"}
        del document["model"]
        verdict = world.verify(encode(document), signed.traces)
        assert_rejected(verdict, "schema", FailureClass.MALFORMED)

    def test_a_rejection_says_that_it_was_judged_as_v1(self, world: World, signed: Signed) -> None:
        verdict = world.verify(encode(signed.document | {"envelope_version": "v2"}), None)
        assert verdict.outcome is Outcome.REJECTED
        assert verdict.reason.endswith("(as an envelope v1; it says v2)")

    def test_its_version_is_part_of_what_is_signed(self, signed: Signed) -> None:
        def digest(version: str) -> str:
            document = signed.document | {"envelope_version": version}
            return hashlib.sha256(canonical_body(parse_unambiguous(encode(document)))).hexdigest()

        assert len({digest("v1"), digest("v2"), digest("v3")}) == 3


@pytest.mark.parametrize(
    ("version", "known", "expected"),
    [
        ("3", "2", True),
        ("10", "9", True),
        ("2", "2", False),
        ("1", "2", False),
        *[(each, "2", False) for each in NO_VERSIONS if isinstance(each, str)],
    ],
)
def test_a_later_version_is_a_larger_number(version: str, known: str, expected: bool) -> None:
    assert is_later_version(version, known) is expected


def test_only_what_cannot_be_judged_is_not_rejected() -> None:
    spared = {failure for failure in FailureClass if outcome_of(failure) is not Outcome.REJECTED}
    assert spared == {FailureClass.NEWER_THAN_VERIFIER, FailureClass.TRACES_MISSING}
    assert outcome_of(None) is Outcome.VERIFIED


def test_the_verifiers_version_follows_from_all_that_it_judges_by() -> None:
    parts = (str(RULES_VERSION), METRIC_DEFINITIONS_VERSION, TRACES_SCHEMA_VERSION)
    assert VERIFIER_VERSION.split(".") == list(parts)


def test_the_writer_writes_the_version_that_the_models_know(signed: Signed) -> None:
    assert (
        Envelope.model_fields["envelope_version"].default
        == json.loads(signed.data)["envelope_version"]
    )
