"""Published policies: what their signature must prove before a rule of them counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from inferencebench_pipeline.trust.errors import PolicyError
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy
from inferencebench_pipeline.trust.verify.published_policy import (
    POLICY_SUITE,
    PublishedPolicy,
    policy_statement,
    verify_published_policy,
)
from inferencebench_pipeline.trust.verify.required_signer import Name, RequiredSigner
from tests.trust.conftest import World

POLICY = b"version: 1\nsigners: []\n"
NOW = datetime.now(UTC)


def required(world: World, identity: str | None = None) -> RequiredSigner:
    rule = world.policy.signers[0]
    return RequiredSigner("the test", Name(rule.issuer), Name(identity or str(rule.identity)))


@pytest.fixture(scope="module")
def published(running_world: World) -> PublishedPolicy:
    statement = policy_statement(POLICY, name="policy.yaml")
    signer = running_world.signer(policy=None)
    bundle = signer.sign_statement(statement, suite_id=POLICY_SUITE)
    return PublishedPolicy(POLICY, bundle, "there")


def read(world: World, published: PublishedPolicy, identity: str | None = None) -> IdentityPolicy:
    signer = required(world, identity)
    now = NOW + timedelta(days=3, hours=1)
    return verify_published_policy(published, trust=world.trust, signer=signer, now=now)


def test_a_policy_that_the_required_signer_signed_says_by_whom_and_when(
    world: World, published: PublishedPolicy
) -> None:
    policy = read(world, published)
    identity = world.policy.signers[0].identity
    assert policy.origin.startswith(f"there, signed by {identity} on {NOW.date().isoformat()[:7]}")
    assert policy.origin.endswith("(3 days ago)")


def test_another_signer_is_refused(world: World, published: PublishedPolicy) -> None:
    with pytest.raises(PolicyError, match="does not count: it was signed by"):
        read(world, published, "mallory@example.org")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((POLICY + b"\n", None), "no subject of the statement"),
        ((POLICY, b"{}"), "is not proven by its signature"),
        ((POLICY, b"nonsense"), "is not proven by its signature"),
    ],
)
def test_what_the_signature_does_not_prove_is_refused(
    world: World, published: PublishedPolicy, change: tuple[bytes, bytes | None], said: str
) -> None:
    with pytest.raises(PolicyError, match=said):
        read(world, PublishedPolicy(change[0], change[1] or published.bundle, "there"))


def test_a_statement_of_another_kind_about_the_same_bytes_is_refused(world: World) -> None:
    statement = json.loads(policy_statement(POLICY, name="policy.yaml"))
    statement["predicateType"] = "https://slsa.dev/verification_summary/v1"
    signer = world.signer(policy=None)
    bundle = signer.sign_statement(json.dumps(statement).encode(), suite_id=POLICY_SUITE)
    with pytest.raises(PolicyError, match="it was not signed as a policy"):
        read(world, PublishedPolicy(POLICY, bundle, "there"))


def test_only_a_policy_that_can_be_used_is_signed() -> None:
    with pytest.raises(PolicyError, match="not usable"):
        policy_statement(b"version: 2\n", name="policy.yaml")
