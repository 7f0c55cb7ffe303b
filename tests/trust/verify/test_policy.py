"""The policy file: what it may say, and how a mistake in it is reported."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inferencebench_pipeline.trust.errors import PolicyError
from inferencebench_pipeline.trust.verify.bundle import parse_bundle
from inferencebench_pipeline.trust.verify.certificates import (
    NameKind,
    SignerIdentity,
    certificate_identity,
)
from inferencebench_pipeline.trust.verify.policy import load_policy, parse_policy, policy_source

GOOD = """\
version: 1
signers:
  - organisation: acme
    suites: ["llm.inference.*"]
    issuer: https://token.actions.githubusercontent.com
    identity: https://github.com/acme/bench/.github/workflows/run.yml@refs/heads/main
    valid_from: 2026-01-01T00:00:00Z
    valid_until: 2026-07-01T00:00:00Z
  - organisation: acme
    suites: ["llm.inference.*"]
    issuer: https://token.actions.githubusercontent.com
    identity: https://github.com/acme/bench/.github/workflows/run.yml@refs/heads/main
    valid_from: 2026-10-01T00:00:00+02:00
"""
WORKFLOW = """\
version: 1
signers:
  - organisation: acme
    suites: ["*"]
    issuer: https://token.actions.githubusercontent.com
    valid_from: 2020-01-01T00:00:00Z
    workflow:
      source_repository_uri: https://github.com/kubewarden/kubewarden-controller
      runner_environment: github-hosted
"""
RULE = GOOD.split("signers:\n")[1].split("  - ")[1]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def named(identity: str, issuer: str) -> SignerIdentity:
    """A signer whose certificate gives the name as the kind of name that it looks like."""
    return SignerIdentity(identity, issuer, kind=NameKind.of_text(identity))


def refusal(moment: str, *, suite_id: str = "llm.inference.chat") -> str | None:
    policy = parse_policy(GOOD.encode(), where="the test")
    rule = policy.signers[0]
    return policy.signer_refusal(
        organisation="acme",
        suite_id=suite_id,
        signer=named(rule.identity or "", rule.issuer),
        signed_at=[at(moment)],
    )


@pytest.mark.parametrize(
    ("moment", "allowed"),
    [
        ("2025-12-31T23:59:59", False),
        ("2026-01-01T00:00:00", True),
        ("2026-06-30T23:59:59", True),
        ("2026-07-01T00:00:00", False),
        ("2026-09-30T21:59:59", False),
        ("2026-09-30T22:00:00", True),
        ("2030-01-01T00:00:00", True),
    ],
)
def test_a_signer_counts_within_its_spans_only(moment: str, allowed: bool) -> None:
    assert (refusal(moment) is None) == allowed


def test_every_trusted_time_must_be_inside_one_span() -> None:
    policy = parse_policy(GOOD.encode(), where="the test")
    rule = policy.signers[0]
    said = policy.signer_refusal(
        organisation="acme",
        suite_id="llm.inference.chat",
        signer=named(rule.identity or "", rule.issuer),
        signed_at=[at("2026-06-30T00:00:00"), at("2026-10-02T00:00:00")],
    )
    assert said is not None


def test_suites_are_patterns_and_case_counts() -> None:
    assert refusal("2026-02-01T00:00:00", suite_id="llm.inference.code") is None
    assert refusal("2026-02-01T00:00:00", suite_id="LLM.inference.code") is not None
    assert refusal("2026-02-01T00:00:00", suite_id="llm.inference") is not None


def test_the_digest_is_of_the_files_bytes(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    assert load_policy(path).sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    path.write_text(GOOD + "# reviewed\n")
    assert load_policy(path).sha256 != hashlib.sha256(GOOD.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a mapping"),
        ("- 1", "must be a mapping"),
        ("version: 2", r"version: .*got 2"),
        ("version: 1\nsha256: aa", "must be a mapping with"),
        ("version: 1\nsigner: []", "signer: Extra inputs"),
        ("version: 1\nversion: 1", "'version' appears twice"),
        (GOOD.replace("organisation: acme", 'organisation: "*"', 1), r"signers\.0\.organisation"),
        (GOOD.replace("    issuer: ", "    isuer: ", 1), r"signers\.0\.issuer: Field required"),
        (GOOD.replace('["llm.inference.*"]', "[]", 1), r"signers\.0\.suites"),
        (GOOD.replace('["llm.inference.*"]', '[""]', 1), r"signers\.0\.suites\.0"),
        (
            WORKFLOW.replace("https://token.actions.githubusercontent.com", '""'),
            r"0\.issuer: String",
        ),
        (re.sub(r"identity: .*", 'identity: ""', GOOD, count=1), r"signers\.0\.identity: String"),
        (GOOD.replace("2026-07-01", "2026-01-01", 1), "is not after valid_from"),
        (GOOD.replace("2026-01-01T00:00:00Z", "2026-01-01T00:00:00", 1), "timezone"),
        (GOOD.replace("2026-01-01", "2027-01-01", 1), "is not after valid_from"),
        (f"version: 1\nsigners:\n  - {RULE}    issuer: x\n", "'issuer' appears twice"),
        ("version: 1\nsigners: [", "not valid YAML"),
        (WORKFLOW.replace("source_repository_uri", "repository"), "no certificate says repository"),
        (WORKFLOW.replace("source_repository_uri", "build_trigger"), "issuer alone would let"),
        (WORKFLOW.split("    workflow:")[0], "name the identity, or in workflow"),
        ("!!python/object/apply:os.system [true]", "not valid YAML"),
        ("a: &a [1]\n" * 1 + "x" * (1 << 20), "larger than"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse_policy(text.encode(), where="policy.yaml")


# RFC 5280 section 4.1: a key whose algorithm is the object identifier 1.2.3.4, and has no bits.
UNKNOWN_KEY = "-----BEGIN PUBLIC KEY-----\nMAswBQYDKgMEAwIAAA==\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("key", ["", "hello", "-----BEGIN PUBLIC KEY-----\nAAAA\n", UNKNOWN_KEY])
def test_a_development_key_must_be_one(key: str) -> None:
    rule = "version: 1\ndev_keys: [{organisation: a, suites: ['*'], public_key_pem: %s}]"
    rule %= json.dumps(key)
    with pytest.raises(PolicyError, match=r"dev_keys\.0\.public_key_pem"):
        parse_policy(rule.encode(), where="policy.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"nowhere\.yaml.*INFERENCEBENCH_POLICY"):
        load_policy(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        (("", ""), True),
        (("github-hosted", "self-hosted"), False),
        (("kubewarden-controller", "kubewarden-controllers"), False),
        (("actions.githubusercontent.com", "actions.githubusercontent.com/other"), False),
        (("workflow:", "identity: https://github.com/kubewarden/x@y\n    workflow:"), False),
        (("      runner_environment: github-hosted\n", "      build_trigger: push\n"), True),
        (("      runner_environment: github-hosted\n", "      build_trigger: manual\n"), False),
    ],
)
def test_a_workflow_is_named_by_what_its_certificate_says(
    shared_data: Path, change: tuple[str, str], allowed: bool
) -> None:
    folder = shared_data / "sigstore-bundles"
    cases = json.loads((folder / "manifest.json").read_text())["cases"]
    case = next(item for item in cases if item["id"] == "good-pg-dsse-v1-cosign-sign")
    bundle = parse_bundle((folder / case["bundle"]).read_bytes())
    signer = certificate_identity(bundle.signing_certificate)
    assert signer == named(case["identity"], case["issuer"])
    refusal = parse_policy(WORKFLOW.replace(*change).encode(), where="the test").signer_refusal(
        organisation="acme", suite_id="s", signer=signer, signed_at=[at("2026-06-01T00:00:00")]
    )
    assert (refusal is None) == allowed, refusal


def test_a_certificate_without_claims_satisfies_no_workflow() -> None:
    policy = parse_policy(WORKFLOW.encode(), where="the test")
    signer = named("someone@example.org", policy.signers[0].issuer)
    refusal = policy.signer_refusal(
        organisation="acme", suite_id="s", signer=signer, signed_at=[at("2026-06-01T00:00:00")]
    )
    assert refusal is not None
    assert "source_repository_uri=https://github.com/kubewarden" in refusal


@pytest.mark.parametrize(
    ("organisation", "place"),
    [("acme", "acme, suite llm.inference.chat"), (None, "suite llm.inference.chat")],
)
def test_a_refusal_says_for_which_organisation_and_suite(
    organisation: str | None, place: str
) -> None:
    policy = parse_policy(GOOD.encode(), where="the test")
    signer = named("mallory@example.org", "https://issuer.example")
    said = policy.signer_refusal(
        organisation=organisation,
        suite_id="llm.inference.chat",
        signer=signer,
        signed_at=[at("2026-02-01T00:00:00")],
    )
    assert said is not None
    assert f"mallory@example.org (https://issuer.example) may not sign for {place}; " in said
    refusal = policy.signer_refusal(
        organisation="nobody", suite_id="unheard-of", signer=signer, signed_at=[]
    )
    assert refusal == "the policy names no signer for nobody, suite unheard-of"


NAMES = {
    "source_repository_uri": True,
    "source_repository_identifier": True,
    "build_config_uri": True,
    "build_signer_uri": False,
    "build_signer_digest": False,
    "runner_environment": False,
    "source_repository_digest": False,
    "source_repository_ref": False,
    "source_repository_owner_uri": False,
    "source_repository_owner_identifier": False,
    "build_config_digest": False,
    "build_trigger": False,
    "run_invocation_uri": False,
    "source_repository_visibility": False,
}


@pytest.mark.parametrize(("claim", "is_enough"), NAMES.items())
def test_only_a_claim_that_names_one_repository_stands_for_an_identity(
    claim: str, is_enough: bool
) -> None:
    text = WORKFLOW.replace("source_repository_uri", claim)
    if claim != "runner_environment":
        text = text.replace("      runner_environment: github-hosted\n", "")
    else:
        text = WORKFLOW.replace(
            "      source_repository_uri: https://github.com/kubewarden/kubewarden-controller\n", ""
        )
    if is_enough:
        assert parse_policy(text.encode(), where="the test").signers[0].workflow.keys() == {claim}
        return
    with pytest.raises(PolicyError, match="issuer alone would let every user"):
        parse_policy(text.encode(), where="the test")


def test_an_issuer_and_an_identity_count_exactly() -> None:
    rule = parse_policy(GOOD.encode(), where="the test").signers[0]
    assert rule.identity is not None
    assert rule.names(named(rule.identity, rule.issuer))
    for identity, issuer in (
        (rule.identity + "x", rule.issuer),
        (rule.identity.upper(), rule.issuer),
        (rule.identity, rule.issuer + "/"),
        (rule.identity, ""),
        ("", rule.issuer),
    ):
        assert not rule.names(named(identity, issuer))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ed448.Ed448PrivateKey.generate(),
    ],
)
def test_a_key_of_another_kind_is_no_development_key(make) -> None:
    pem = make().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    rule = {"organisation": "a", "suites": ["*"], "public_key_pem": pem.decode()}
    with pytest.raises(PolicyError, match="expected an Ed25519 public key, got"):
        parse_policy(json.dumps({"version": 1, "dev_keys": [rule]}).encode(), where="the test")


def test_a_policy_has_the_name_that_it_was_asked_for_by(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    source = policy_source(load_policy(path, named_by="--policy"))
    assert source.name == f"{path}, named by --policy"
    assert source.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert policy_source(parse_policy(GOOD.encode(), where="here")).name == "here"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            GOOD.replace("    issuer: ", "    isuer: ", 1),
            ["p:3: signers.0.issuer", "p:5: signers.0"],
        ),
        (GOOD.replace("version: 1", "version: 2"), ["p:1: version"]),
        ("version: 1\nsigners: {a: 1}\n", ["p:2: signers"]),
        ("signers: []\n", ["p:1: version"]),
    ],
)
def test_each_problem_of_a_policy_begins_with_its_line(text: str, problems: list[str]) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text.encode(), where="p")
    assert len(caught.value.problems) == len(problems)
    for problem, beginning in zip(caught.value.problems, problems, strict=True):
        assert problem.startswith(beginning)
