"""Mistakes that other verifiers made and reported, tried here with inputs that are true to them.

Whoever holds the keys of the sandbox's Sigstore makes them. Each attack is a function that makes
one record or statement, with the lie or without it. The one without it verifies, so that nothing
else can be what is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from inferencebench_pipeline.sandbox.sigstore.trust_config import keys_folder
from inferencebench_pipeline.trust.verify.bundle import INTOTO_PAYLOAD_TYPE
from inferencebench_pipeline.trust.verify.corpus_statement import (
    StatementRejectedError,
    verify_corpus_statement,
)
from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier
from tests.paths import REPOSITORY
from tests.trust.conftest import World
from tests.trust.keyholder import BUNDLE_V1, MINUTE, Key, Keyholder, dsse, message_signature, pae
from tests.trust.records import Signed
from tests.trust.verify.test_corpus_statement import statement as a_statement

Made = Signed | bytes
"""A record, or the bundle of a statement."""
Make = Callable[[Keyholder, bool], Made]
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Attack:
    """One reported mistake: what it was, an input that profits by it, and what must refuse it."""

    report: str
    mistake: str
    make: Make
    refused: str
    """The check that refuses it, or two that may, and some words of its reason."""
    versions: Sequence[int]


ATTACKS: Final[list[Attack]] = []


def reported(
    report: str, mistake: str, *, refused: str, versions: Sequence[int] = (1, 2)
) -> Callable[[Make], Make]:
    """Put an attack into the table."""

    def register(make: Make) -> Make:
        ATTACKS.append(Attack(report, mistake, make, refused, versions))
        return make

    return register


COSIGN: Final = "CVE-2022-36056 and CVE-2026-22703 (cosign)"
NOT_VALID: Final = "bundle_verifies: .*cert is not valid at validation time"
INCONSISTENT: Final = "bundle_verifies: .*entry is inconsistent with other materials"
UNBOUND: Final = "The log entry is not compared with the signature that it should prove."


@reported(COSIGN, UNBOUND, refused=INCONSISTENT)
def entry_of_another_artefact(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    logged = b"another artefact" if lie else made.message
    signature = person.sign(made.message)
    entry = made.entry(made.body(logged, person.sign(logged) if lie else signature, person))
    return made.record(person, entry, signature=signature)


@reported(COSIGN, UNBOUND, refused=INCONSISTENT)
def entry_of_another_digest(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    entry = made.entry(made.body(b"another artefact" if lie else made.message, signature, person))
    return made.record(person, entry, signature=signature)


@reported(COSIGN, UNBOUND, refused=INCONSISTENT)
def entry_of_another_signature(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    logged = person.sign(made.message) if lie else signature
    return made.record(
        person, made.entry(made.body(made.message, logged, person)), signature=signature
    )


@reported(COSIGN, UNBOUND, refused=INCONSISTENT)
def entry_of_another_certificate(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    # The same key and the same name in another certificate.
    logged = made.person(key=person.key) if lie else person
    return made.record(
        person, made.entry(made.body(made.message, signature, logged)), signature=signature
    )


@reported(
    "sigstore-rust#160",
    "The digest that the bundle states is believed without hashing the artefact.",
    refused="bundle_verifies: .*Signature is invalid for input",
)
def stated_digest(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signed = b"another artefact" if lie else made.message
    signature = person.sign(signed)
    content = message_signature(made.message, signature)
    entry = made.entry(made.body(signed, signature, person))
    return made.record(person, entry, signature=signature, content=content)


@reported(
    "CVE-2024-55655 (sigstore-python), sigstore-rust#160 (TOB-3)",
    "The time at which a log took an entry in is believed although the log did not sign it.",
    refused=NOT_VALID,
)
def time_that_nobody_signed(made: Keyholder, lie: bool) -> Made:
    person = made.person(starts=datetime.now(UTC) + (60 * MINUTE if lie else -MINUTE))
    signature = person.sign(made.message)
    entry = made.entry(made.body(made.message, signature, person))
    if lie:
        # The timestamp is true and outside of the certificate's time; what the bundle says is not.
        entry.pop("inclusionPromise", None)
        within = person.certificate.not_valid_before_utc + MINUTE
        entry["integratedTime"] = str(int(within.timestamp()))
    return made.record(person, entry, signature=signature)


@reported(
    "CVE-2024-55655 (sigstore-python)",
    "A bundle without any trusted time verifies by a time of its own.",
    refused="bundle_format: .*inclusion promise or signed timestamp",
)
def no_trusted_time(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    entry = made.entry(made.body(made.message, signature, person))
    if lie:
        entry.pop("inclusionPromise", None)
        entry["integratedTime"] = str(int(datetime.now(UTC).timestamp()))
    stamps = [] if lie else [made.stamp(signature)]
    return made.record(person, entry, signature=signature, stamps=stamps)


ONE_TIME: Final = "The certificate is looked at at one of the trusted times, not at all of them."


@reported("sigstore-rust#160 (TOB-4)", ONE_TIME, refused=NOT_VALID)
def timestamp_after_the_certificate(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    later = datetime.now(UTC) + (11 if lie else 2) * MINUTE
    stamps = [made.stamp(signature), made.stamp(signature, at=later)]
    return made.record(person, signature=signature, stamps=stamps)


@reported("sigstore-rust#160 (TOB-4)", ONE_TIME, refused=NOT_VALID, versions=[1])
def logged_after_the_certificate(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    later = datetime.now(UTC) + (11 if lie else 2) * MINUTE
    entry = made.entry(made.body(made.message, signature, person), at=later)
    return made.record(person, entry, signature=signature)


NO_TIME: Final = "bundle_verifies: .*not enough sources|timestamps_verify: .* 0 of them verify"
RFC3161: Final = "CVE-2025-52556 (rfc3161-client)"


@reported(
    RFC3161,
    "A timestamp is believed for the certificate inside it, whoever signed it.",
    refused=NO_TIME,
)
def timestamp_by_another_key(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    key = ec.generate_private_key(ec.SECP256R1()) if lie else None
    return made.record(person, signature=signature, stamps=[made.stamp(signature, key=key)])


@reported(
    RFC3161,
    "A timestamp of something else is believed.",
    refused=NO_TIME,
)
def timestamp_of_another_signature(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    return made.record(
        person, signature=signature, stamps=[made.stamp(b"another" if lie else signature)]
    )


@reported(
    "ECDSA malleability",
    "The other signature with the same meaning, which anybody computes, counts as a new one.",
    refused=INCONSISTENT,
)
def signature_turned_around(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    entry = made.entry(made.body(made.message, signature, person))
    stamps = [made.stamp(signature)]
    if lie:
        r, s = decode_dss_signature(signature)
        signature = encode_dss_signature(r, P256_ORDER - s)
        stamps = [made.stamp(signature)]
    return made.record(person, entry, signature=signature, stamps=stamps)


@reported(
    "CVE-2024-45395 (sigstore-go)",
    "A bundle has as many log entries, and costs as much work, as its maker likes.",
    refused="bundle_format: .*exactly one log entry",
)
def many_entries(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    entry = made.entry(made.body(made.message, signature, person))
    return made.record(person, *[entry] * (50 if lie else 1), signature=signature)


@reported(
    "CVE-2024-45395 (sigstore-go)",
    "A bundle has as many timestamps, and costs as much work, as its maker likes.",
    refused="bundle_verifies: .*too many",
)
def many_timestamps(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    stamps = [made.stamp(signature) for _ in range(33 if lie else 3)]
    return made.record(person, signature=signature, stamps=stamps)


@reported(
    "Two entries",
    "Of two log entries the first is verified and the second is shown, or the other way round.",
    refused="bundle_format: .*exactly one log entry",
)
def two_entries(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    entry = made.entry(made.body(made.message, signature, person))
    other = made.entry(made.body(b"another", person.sign(b"another"), person))
    return made.record(person, entry, *[other] * lie, signature=signature)


@reported(
    "Payload type confusion",
    "The signature over a DSSE envelope counts as one over a message.",
    refused="bundle_verifies: .*Missing bundle message signature",
)
def dsse_as_a_message(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(pae(made.message) if lie else made.message)
    if not lie:
        return made.record(person, signature=signature)
    content = dsse(made.message, signature)
    entry = made.entry(
        made.dsse_body(content, person), kind="dsse" if made.version == 1 else "hashedrekord"
    )
    return made.record(person, entry, signature=signature, content=content)


@reported(
    "Certificate transparency",
    "A certificate that its log never promised to list is believed.",
    refused="bundle_verifies: .*does not contain a signed certificate timestamp",
)
def certificate_in_no_log(made: Keyholder, lie: bool) -> Made:
    return made.record(made.person(logged=not lie))


@reported(
    "Media type v0.1",
    "A bundle of a version that needed no checkpoint gets by without one.",
    refused="bundle_format: .*must contain inclusion proof, with checkpoint",
    versions=[1],
)
def no_checkpoint(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    entry = made.entry(made.body(made.message, signature, person))
    if lie:
        del entry["inclusionProof"]["checkpoint"]
    return made.record(person, entry, signature=signature, media_type=BUNDLE_V1)


@reported(
    "Media type v0.1",
    "A bundle of a version that needed no proof gets by with a promise alone.",
    refused=r"bundle_format: .*inclusionProof\s+Field required",
    versions=[1],
)
def no_proof(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signature = person.sign(made.message)
    entry = made.entry(made.body(made.message, signature, person))
    if lie:
        del entry["inclusionProof"]
    return made.record(person, entry, signature=signature, media_type=BUNDLE_V1)


def with_a_leaf_of(key: Callable[[], Key]) -> Make:
    def leaf(made: Keyholder, lie: bool) -> Made:
        return made.record(made.person(key=key() if lie else None))

    return leaf


LEAVES: Final[dict[str, Callable[[], Key]]] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}
for name, key in LEAVES.items():
    reported(
        f"{name} leaf",
        "A certificate for a key of another kind than usual makes the verifier fall over.",
        refused="bundle_verifies: .*",
    )(with_a_leaf_of(key))


@reported(
    "CVE-2024-53267 (sigstore-java)",
    "The log entry of another DSSE envelope counts as the proof.",
    refused=r"bundle_verifies: .*(payload hash does not match|is inconsistent)",
)
def entry_of_another_statement(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    content = dsse(made.payload, person.sign(pae(made.payload)))
    other = dsse(b"{}", person.sign(pae(b"{}")))
    return made.statement(
        made.payload,
        person,
        content=content,
        body=made.dsse_body(other if lie else content, person),
    )


@reported(
    "CVE-2024-53267 (sigstore-java)",
    "The log entry of another DSSE envelope counts as the proof.",
    refused=r"bundle_verifies: .*(signatures do not match|is inconsistent)",
)
def entry_of_another_signature_of_the_statement(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    content = dsse(made.payload, person.sign(pae(made.payload)))
    again = dsse(made.payload, person.sign(pae(made.payload)))
    return made.statement(
        made.payload,
        person,
        content=content,
        body=made.dsse_body(again if lie else content, person),
    )


def several_signatures(first: bool) -> Make:
    def of_two_people(made: Keyholder, lie: bool) -> Made:
        person, other = made.person(), made.person()
        true, more = person.sign(pae(made.payload)), other.sign(pae(made.payload))
        if not lie:
            return made.statement(made.payload, person)
        signatures, signers = ((true, more), (person, other))
        if not first:
            signatures, signers = signatures[::-1], signers[::-1]
        content = dsse(made.payload, *signatures)
        body = made.dsse_body(content, *signers)
        return made.statement(made.payload, person, content=content, body=body)

    return of_two_people


for place, is_first in (("first", True), ("last", False)):
    reported(
        f"DSSE with several signatures, the true one {place}",
        "One of several signatures is verified, and another one is believed.",
        refused="bundle_verifies: .*exactly one signature",
    )(several_signatures(is_first))

CONFUSED: Final = "Payload type confusion"


@reported(
    CONFUSED,
    "What was signed as one type of payload is read as another.",
    refused="bundle_verifies: .*not in-toto JSON",
)
def statement_signed_as_text(made: Keyholder, lie: bool) -> Made:
    return made.statement(made.payload, kind="text/plain" if lie else INTOTO_PAYLOAD_TYPE)


@reported(
    CONFUSED,
    "The type of the payload is not part of what is signed.",
    refused="bundle_verifies: .*DSSE: invalid signature",
)
def text_shown_as_a_statement(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signed = pae(made.payload, "text/plain") if lie else pae(made.payload)
    return made.statement(made.payload, person, content=dsse(made.payload, person.sign(signed)))


@reported(
    CONFUSED,
    "The signature over a file counts as one over the statement in it.",
    refused="bundle_verifies: .*DSSE: invalid signature",
)
def file_shown_as_a_statement(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    signed = made.payload if lie else pae(made.payload)
    return made.statement(made.payload, person, content=dsse(made.payload, person.sign(signed)))


@reported(
    CONFUSED,
    "A signature over a message counts as a DSSE envelope.",
    refused="bundle_verifies: .*without a DSSE envelope",
)
def message_as_a_statement(made: Keyholder, lie: bool) -> Made:
    person = made.person()
    if not lie:
        return made.statement(made.payload, person)
    signature = person.sign(made.payload)
    content = message_signature(made.payload, signature)
    body = made.body(made.payload, signature, person)
    return made.statement(made.payload, person, content=content, body=body)


ELSEWHERE: Final = {
    "GHSA-wqqc-jjcq-vfxm (sigstore-go#642): a key is believed outside of its time": (
        "tests/trust/verify/test_negative.py::test_a_key_whose_time_was_over",
        "tests/trust/verify/test_bundles.py::test_a_key_used_outside_its_window_is_refused",
    ),
    "CVE-2026-24122 (cosign): an issuer that has expired is believed, in between or the root": (
        "tests/trust/verify/test_expired_root.py::test_a_chain_is_valid_as_a_whole",
    ),
    "CVE-2026-22772 (fulcio): a regular expression matches a part of a name": (
        "tests/trust/verify/test_misissued_certificates.py::test_a_name_that_looks_like_it_is_not",
        "tests/trust/verify/test_required_signer.py::test_an_expression_must_match_the_whole_name",
    ),
    "Issuer confusion: the two forms of the issuer differ, or one is not DER": (
        "tests/trust/verify/test_misissued_certificates.py::test_a_name_that_looks_like_it_is_not",
    ),
    "CVE-2022-35929 (cosign), CVE-2022-35930 (policy-controller): any predicate will do": (
        "tests/trust/verify/test_corpus_statement.py"
        "::test_a_well_signed_statement_that_does_not_add_up_is_refused",
    ),
    "CVE-2024-29902, CVE-2024-29903 (cosign): sizes that a stranger states are allocated": (
        "tests/trust/test_bombs.py::test_a_bomb_is_refused_before_it_goes_off",
        "tests/trust/verify/test_bundles.py::test_a_bundle_larger_than_any_is_not_read",
        "tests/trust/verify/test_negative.py::test_documents",
    ),
    "GHSA-r2xv-vpr2-42m9 (slsa-verifier): the name of the package is not compared": (
        "tests/cli/verification/test_verify_place.py::test_a_record_under_the_name_of_another_is_another_record",
        "tests/trust/verify/test_corpus_statement.py"
        "::test_a_statement_about_another_corpus_is_refused",
    ),
    "CVE-2025-25204 (gh attestation verify): success although nothing was verified": (
        "tests/cli/verification/test_verify_corpus.py::test_each_tampering_has_an_outcome_and_an_exit_code",
        "tests/cli/verification/test_verdict_report.py::test_missing_traces_end_with_4_and_say_so",
    ),
    "CVE-2023-47122 (gitsign): keys come from whoever is to be verified": (
        "tests/cli/verification/test_trust_material.py"
        "::test_a_checkout_cannot_bring_its_own_certificate_authority",
    ),
    "python-tuf#1498: older metadata is taken after newer": (
        "tests/trust/root/test_store.py::test_an_older_state_served_again_is_refused",
        "tests/trust/root/test_store.py"
        "::test_older_metadata_is_refused_although_the_state_of_tuf_was_lost",
    ),
    "Keys twice in JSON: two readers understand two things": (
        "tests/trust/verify/test_bundle_spellings.py"
        "::test_a_key_twice_is_refused_in_both_spellings_and_in_one",
        "tests/trust/verify/test_corpus_statement.py"
        "::test_a_statement_that_readers_could_read_in_two_ways_is_refused",
    ),
    "Key id and tree size: hints that are believed": (
        "tests/trust/verify/test_negative.py::test_a_bundle_with_a_part_changed_or_missing",
        "tests/trust/verify/test_bundles.py"
        "::test_a_proof_for_another_log_size_than_the_checkpoint_is_refused",
    ),
}
"""The mistakes that are tried where the behaviour itself is tested, with the tests."""

CASES: Final = [(attack, version) for attack in ATTACKS for version in attack.versions]


@pytest.fixture(scope="module")
def keyholders(
    running_world: World, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Keyholder]:
    keys, folder = keys_folder(running_world.trust_config.parents[1]), tmp_path_factory.mktemp("l")
    payload = a_statement(running_world)
    return {version: Keyholder(keys, folder, version, payload) for version in (1, 2)}


def refusal(world: World, verifier: EnvelopeVerifier, made: Made) -> str:
    """Return why it is refused; the empty text when it is accepted."""
    if isinstance(made, Signed):
        verdict = verifier.verify(made.data, organisation=world.organisation, traces=made.traces)
        return "" if verdict.ok else verdict.reason
    try:
        verify_corpus_statement(
            made, trust=world.trust, policy=world.policy, organisation=world.organisation
        )
    except StatementRejectedError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("attack", "version"),
    CASES,
    ids=[f"{attack.report}: {attack.make.__name__}, v{version}" for attack, version in CASES],
)
def test_a_mistake_of_others_is_not_made_here(
    keyholders: dict[int, Keyholder], running_world: World, attack: Attack, version: int
) -> None:
    world, made = running_world, keyholders[version]
    genuine, forged = attack.make(made, False), attack.make(made, True)
    warm = EnvelopeVerifier(world.trust, world.policy)

    assert refusal(world, warm, genuine) == ""
    said = refusal(world, warm, forged)
    assert re.match(attack.refused, said)
    # Whatever was remembered of the genuine one changes nothing.
    assert refusal(world, EnvelopeVerifier(world.trust, world.policy), forged) == said


@pytest.mark.parametrize("report", ELSEWHERE)
def test_a_mistake_that_is_tried_elsewhere_is_tried(report: str) -> None:
    for test in ELSEWHERE[report]:
        path, _, name = test.partition("::")
        module = ast.parse((REPOSITORY / path).read_text())
        assert name in {
            node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)
        }, test
