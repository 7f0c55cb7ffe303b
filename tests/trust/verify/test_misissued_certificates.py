"""Certificates that a trusted authority issued to somebody with almost the right name.

Each is true in every other way: issued by the authority, listed by its log, timestamped and logged.
So nothing but the comparison of names stands between its holder and the organisation's records, in
a policy and in each of the options by which a reader names a signer. CVE-2026-22772 (fulcio) was an
issuer's regular expression that matched anywhere.
"""

from __future__ import annotations

from typing import Final

import pytest
from cryptography import x509

from inferencebench_pipeline.sandbox.sigstore import der
from inferencebench_pipeline.sandbox.sigstore.trust_config import keys_folder
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, parse_policy
from inferencebench_pipeline.trust.verify.required_signer import (
    GITHUB_ISSUER,
    Name,
    RequiredSigner,
    policy_for,
    signer_of_owner,
    signer_of_repository,
)
from tests.trust.conftest import World
from tests.trust.keyholder import Extensions, Keyholder, claim, issuer_v1

REPOSITORY: Final = "https://github.com/acme/bench"
WORKFLOW: Final = f"{REPOSITORY}/.github/workflows/publish.yml@refs/heads/main"
CLAIMS: Final = [claim(12, REPOSITORY), claim(16, "https://github.com/acme")]
TRUE: Final = [claim(8, GITHUB_ISSUER), *CLAIMS]
POLICIES: Final[dict[str, IdentityPolicy]] = {
    "a policy": parse_policy(
        f"""
        version: 1
        signers:
        - organisation: inferencebench-sandbox
          suites: ["*"]
          issuer: {GITHUB_ISSUER}
          identity: {WORKFLOW}
          valid_from: 2020-01-01T00:00:00Z
        """.encode(),
        where="the test",
    ),
    "--owner": policy_for(signer_of_owner("acme")),
    "--repo": policy_for(signer_of_repository("acme/bench")),
    "--certificate-identity": policy_for(
        RequiredSigner(asked="the test", issuer=Name(GITHUB_ISSUER), identity=Name(WORKFLOW))
    ),
    "--certificate-identity-regexp": policy_for(
        RequiredSigner(
            asked="the test",
            issuer=Name.pattern(r"https://token\.actions\.githubusercontent\.com"),
            identity=Name.pattern(r"https://github\.com/acme/[a-z]+/.*@refs/heads/(main|release)"),
        )
    ),
}


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def user_name(text: str, number: int = 7) -> x509.GeneralName:
    oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}")
    return x509.OtherName(oid, der.tlv(der.UTF8_STRING, text.encode()))


OTHER_WORKFLOWS: Final[dict[str, list[x509.GeneralName]]] = {
    "the owner in capitals": [uri(WORKFLOW.replace("acme", "ACME"))],
    "the scheme in capitals": [uri(WORKFLOW.replace("https", "HTTPS"))],
    "text behind": [uri(f"{WORKFLOW}.evil")],
    "a line behind": [uri(f"{WORKFLOW}\nevil")],
    "a line break behind": [uri(f"{WORKFLOW}\n")],
    "a NUL behind": [uri(f"{WORKFLOW}\x00")],
    "a NUL and text behind": [uri(f"{WORKFLOW}\x00.evil.example")],
    "a blank behind": [uri(f"{WORKFLOW} ")],
    "a fragment": [uri(f"{WORKFLOW}#x")],
    "a pull request": [uri(WORKFLOW.replace("refs/heads/main", "refs/pull/1/merge"))],
    "a tag of that name": [uri(WORKFLOW.replace("refs/heads/main", "refs/tags/main"))],
}
"""Names that are none but the owner's: --owner and --repo mean every workflow of theirs.

On github.com two names that differ in their case only are one name.
"""

NAMES: Final[dict[str, list[x509.GeneralName]]] = {
    "text before": [uri(f"https://evil.example/?{WORKFLOW}")],
    "a line before": [uri(f"https://evil.example/\n{WORKFLOW}")],
    "a blank before": [uri(f" {WORKFLOW}")],
    "another host": [uri(WORKFLOW.replace("github.com", "github.com.evil.example"))],
    "a host's dot": [uri(WORKFLOW.replace("github.com", "github.com."))],
    "any letter for a dot": [uri(WORKFLOW.replace("github.com", "githubXcom"))],
    "somebody at the host": [uri(WORKFLOW.replace("github.com", "github.com@evil.example"))],
    "another port": [uri(WORKFLOW.replace("github.com", "github.com:8443"))],
    "no encryption": [uri(WORKFLOW.replace("https", "http"))],
    "an owner with more letters": [uri(WORKFLOW.replace("acme/", "acme-evil/"))],
    "an owner with fewer letters": [uri(WORKFLOW.replace("acme/", "acm/"))],
    "an escape": [uri(WORKFLOW.replace("acme", "%61cme"))],
    "a slash twice": [uri(WORKFLOW.replace(".com/", ".com//"))],
    "a path that goes up": [uri(WORKFLOW.replace("acme/", "evil/../acme/"))],
    "an e-mail address": [x509.RFC822Name(WORKFLOW)],
    "a user name": [user_name(WORKFLOW)],
    "a name of another kind": [user_name(WORKFLOW, number=1)],
    "a host": [x509.DNSName("github.com")],
    "two names": [uri(WORKFLOW), uri("https://evil.example/")],
    "the same name twice": [uri(WORKFLOW), uri(WORKFLOW)],
    "a host beside it": [uri(WORKFLOW), x509.DNSName("evil.example")],
}

ISSUERS: Final[dict[str, Extensions]] = {
    "another one": [claim(8, "https://evil.example")],
    "text before": [claim(8, f"https://evil.example/?{GITHUB_ISSUER}")],
    "text behind": [claim(8, f"{GITHUB_ISSUER}.evil.example")],
    "an enterprise's": [claim(8, f"{GITHUB_ISSUER}/acme")],
    "a slash": [claim(8, f"{GITHUB_ISSUER}/")],
    "a line behind": [claim(8, f"{GITHUB_ISSUER}\nhttps://evil.example")],
    "a line before": [claim(8, f"https://evil.example\n{GITHUB_ISSUER}")],
    "a line break": [claim(8, f"{GITHUB_ISSUER}\n")],
    "a NUL": [claim(8, f"{GITHUB_ISSUER}\x00")],
    "a blank": [claim(8, f"{GITHUB_ISSUER} ")],
    "in capitals": [claim(8, GITHUB_ISSUER.upper())],
    "no encryption": [claim(8, GITHUB_ISSUER.replace("https", "http"))],
    "any letter for a dot": [claim(8, GITHUB_ISSUER.replace("n.a", "nXa"))],
    "none at all": [],
    "two that differ, the first true": [
        issuer_v1(GITHUB_ISSUER),
        claim(8, "https://evil.example"),
    ],
    "two that differ, the second true": [
        issuer_v1("https://evil.example"),
        claim(8, GITHUB_ISSUER),
    ],
    "not DER": [(claim(8, "")[0], GITHUB_ISSUER.encode())],
    "DER with text behind": [(claim(8, "")[0], claim(8, GITHUB_ISSUER)[1] + b"x")],
    "DER in the first form": [(issuer_v1("")[0], claim(8, GITHUB_ISSUER)[1])],
    "DER of another type": [(claim(8, "")[0], der.tlv(0x13, GITHUB_ISSUER.encode()))],
    "not UTF-8": [(issuer_v1("")[0], GITHUB_ISSUER.encode() + b"\xff")],
}
MISISSUED: Final[dict[str, tuple[list[x509.GeneralName], Extensions]]] = {
    **{f"name: {what}": (names, TRUE) for what, names in NAMES.items()},
    **{f"issuer: {what}": ([uri(WORKFLOW)], [*said, *CLAIMS]) for what, said in ISSUERS.items()},
}


@pytest.fixture(scope="module")
def made(running_world: World, tmp_path_factory: pytest.TempPathFactory) -> Keyholder:
    keys = keys_folder(running_world.trust_config.parents[1])
    return Keyholder(keys, tmp_path_factory.mktemp("logs"), version=2)


def allowed(
    world: World, made: Keyholder, names: list[x509.GeneralName], said: Extensions
) -> dict[str, str]:
    """Return under which of the policies the holder of such a certificate may sign, or why not."""
    record = made.record(made.person(*names, extensions=said))
    found = {}
    for name, policy in POLICIES.items():
        verdict = world.verify(record.data, record.traces, policy=policy)
        failed = [check.name for check in verdict.checks if check.status == "failed"]
        found[name] = "allowed" if verdict.ok else failed[0]
    return found


@pytest.mark.parametrize(
    "issuer",
    [
        [claim(8, GITHUB_ISSUER)],
        [issuer_v1(GITHUB_ISSUER)],
        [issuer_v1(GITHUB_ISSUER), claim(8, GITHUB_ISSUER)],
    ],
    ids=["second form", "first form", "both"],
)
def test_the_true_certificate_is_allowed_everywhere(
    running_world: World, made: Keyholder, issuer: Extensions
) -> None:
    found = allowed(running_world, made, [uri(WORKFLOW)], [*issuer, *CLAIMS])
    assert found == dict.fromkeys(POLICIES, "allowed")


@pytest.mark.parametrize("what", MISISSUED)
def test_a_name_that_looks_like_it_is_not(running_world: World, made: Keyholder, what: str) -> None:
    found = allowed(running_world, made, *MISISSUED[what])
    assert set(found.values()) in ({"identity_policy"}, {"bundle_verifies"}), found


@pytest.mark.parametrize("what", OTHER_WORKFLOWS)
def test_another_workflow_of_the_owner_is_not_the_one_that_was_named(
    running_world: World, made: Keyholder, what: str
) -> None:
    found = allowed(running_world, made, OTHER_WORKFLOWS[what], TRUE)
    wide = ("--owner", "--repo")
    assert {found.pop(option) for option in wide} == {"allowed"}
    assert set(found.values()) == {"identity_policy"}
    # And not theirs at all, when the certificate does not say so.
    found = allowed(running_world, made, OTHER_WORKFLOWS[what], TRUE[:1])
    assert set(found.values()) == {"identity_policy"}
