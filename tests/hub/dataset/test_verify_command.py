"""The command that a reader is shown: whose name it asks for, and what it says is needed."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.hub.dataset.verify_command import (
    Proof,
    is_private,
    signer_options,
    verify_command,
    verify_instructions,
)
from inferencebench_pipeline.trust.root.store import shipped_trust
from inferencebench_pipeline.trust.verify.memoised import log_ids
from inferencebench_pipeline.trust.verify.verdict import LogPosition, VerifiedSigner

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/Acme/bench/.github/workflows/run.yml@refs/heads/main"
TARGET = "hf://datasets/acme/run/envelope.json"
HUB = "https://huggingface.co"


def signer(
    identity: str = WORKFLOW, issuer: str = GITHUB_ISSUER, method: str = "sigstore-cosign"
) -> VerifiedSigner:
    return VerifiedSigner(method=method, identity=identity, issuer=issuer)


def position(log_id: str, url: str | None = None) -> LogPosition:
    return LogPosition(index=7, log_id=log_id, url=url, integrated_time=None)


PUBLIC = position(log_ids(shipped_trust().logs[0])[0].hex())
PRIVATE = position("ab" * 32, "https://rekor.acme.example/api/v1/log/entries?logIndex=7")


@pytest.mark.parametrize(
    ("who", "namespace", "options"),
    [
        (signer(), "acme", ["--owner Acme"]),
        (
            signer(),
            "acme-hub",
            [f"--certificate-oidc-issuer {GITHUB_ISSUER}", f"--certificate-identity {WORKFLOW}"],
        ),
        (
            signer("https://github.com.evil/acme/x"),
            "acme",
            [
                f"--certificate-oidc-issuer {GITHUB_ISSUER}",
                "--certificate-identity https://github.com.evil/acme/x",
            ],
        ),
        (
            signer(issuer="https://other.example"),
            "acme",
            [
                "--certificate-oidc-issuer https://other.example",
                f"--certificate-identity {WORKFLOW}",
            ],
        ),
        (
            signer("a'; rm -rf ~@x.org", "i"),
            "acme",
            ["--certificate-oidc-issuer i", "--certificate-identity 'a'\"'\"'; rm -rf ~@x.org'"],
        ),
        (signer(method="dev-key"), "acme", ["--policy policy.yaml"]),
        (None, "acme", ["--policy policy.yaml"]),
    ],
)
def test_the_command_asks_for_the_namespace_where_its_own_workflow_signed(
    who: VerifiedSigner | None, namespace: str, options: list[str]
) -> None:
    assert signer_options(who, namespace) == options


def test_a_page_that_has_to_name_the_signer_itself_says_so() -> None:
    own = verify_instructions(TARGET, "acme", Proof(signer(), PUBLIC), endpoint=HUB)
    assert own == f"inferencebench verify {TARGET} \\\n    --owner Acme"
    other = verify_instructions(TARGET, "other", Proof(signer(), PUBLIC), endpoint=HUB)
    assert "# This page names the signer itself" in other
    assert "# with what other says elsewhere." in other
    nobody = verify_instructions(TARGET, "acme", Proof(), endpoint=HUB)
    assert nobody.startswith("# Name in policy.yaml whom you believe")


def test_a_log_that_the_shipped_root_does_not_know_is_named() -> None:
    assert not is_private(None)
    assert not is_private(PUBLIC)
    assert is_private(PRIVATE)
    said = verify_instructions(TARGET, "acme", Proof(signer(), PRIVATE), endpoint=HUB)
    assert f"# The log {'ab' * 8}... at https://rekor.acme.example belongs to a Sigstore" in said
    assert "    --trust-config trust_config.json \\\n    --owner Acme" in said
    without = position("ab" * 32)
    assert "... belongs" in verify_instructions(TARGET, "acme", Proof(log=without), endpoint=HUB)


def test_another_hub_is_part_of_the_command() -> None:
    said = verify_command(TARGET, endpoint="http://127.0.0.1:8000/a b")
    assert said == f"HF_ENDPOINT='http://127.0.0.1:8000/a b' inferencebench verify {TARGET}"
