from __future__ import annotations

import asyncio
import time
from pathlib import Path

import jwt
import pytest
import requests
import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from inferencebench_pipeline.sandbox.sigstore import oidc
from inferencebench_pipeline.sandbox.sigstore.app import identity_token_file, write_policy
from inferencebench_pipeline.sandbox.sigstore.names import DEFAULT_IDENTITY, ISSUER
from tests.sandbox.sigstore.serving import Client, serving


def test_a_token_verifies_with_the_published_keys(client: Client) -> None:
    base = client.trust_config.signing_config.get_oidc_url()
    discovery = requests.get(f"{base}/.well-known/openid-configuration", timeout=10).json()
    keys = jwt.PyJWKClient(discovery["jwks_uri"])
    token = client.token(subject="someone@example.org")
    claims = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=discovery["id_token_signing_alg_values_supported"],
        audience="sigstore",
        issuer=discovery["issuer"],
    )
    assert claims["sub"] == claims["email"] == "someone@example.org"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"subject": "nobody"}, "identity must be"),
        ({"workflow": "acme/bench/run.yml"}, "workflow must be of the form"),
        (
            {
                "workflow": "acme/bench/.github/workflows/run.yml@refs/heads/main",
                "repository": "acme",
            },
            "repository of the form OWNER/REPO",
        ),
        ({"lifetime_s": "0"}, "lifetime_s must be"),
        ({"lifetime_s": "ten"}, "lifetime_s must be"),
        ({"lifetime_s": "3601"}, "lifetime_s must be"),
    ],
)
def test_a_token_request_is_told_what_is_wrong(
    client: Client, fields: dict[str, str], reason: str
) -> None:
    answer = requests.post(f"{client.base_url}/oidc/token", data=fields, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"
    assert reason in answer.json()["error_description"]


def test_a_token_of_a_workflow_has_the_claims_of_githubs_tokens(client: Client) -> None:
    workflow = "acme/bench/.github/workflows/run.yml@refs/heads/main"
    token = client.token(workflow=workflow, repository="acme/site")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["iss"] == "https://token.actions.githubusercontent.com"
    assert claims["sub"] == "repo:acme/site:ref:refs/heads/main"
    assert claims["job_workflow_ref"] == workflow
    assert (claims["repository"], claims["repository_owner"]) == ("acme/site", "acme")


def test_the_issuer_keeps_its_name_on_every_port(tmp_path: Path) -> None:
    issuers = set()
    for _ in range(2):
        with serving(tmp_path) as client:
            url = f"{client.base_url}/oidc/.well-known/openid-configuration"
            issuers.add(requests.get(url, timeout=10).json()["issuer"])
    assert issuers == {ISSUER}


def test_the_token_file_is_there_while_serving_and_gone_afterwards(tmp_path: Path) -> None:
    with serving(tmp_path):
        path = identity_token_file(tmp_path)
        claims = jwt.decode(path.read_text(), options={"verify_signature": False})
        assert claims["sub"] == DEFAULT_IDENTITY
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


class Clock:
    """A wall clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def test_the_token_file_is_renewed_at_half_its_life_and_after_a_long_sleep(tmp_path: Path) -> None:
    path = tmp_path / "identity-token"
    issuer = oidc.OidcIssuer(ec.generate_private_key(ec.SECP256R1()))
    clock = Clock()

    async def next_token(token: str) -> str:
        async with asyncio.timeout(20):
            while not path.exists() or path.read_text() == token:
                await asyncio.sleep(0.01)
        return path.read_text()

    def expires_in_s(token: str) -> float:
        claims = jwt.decode(token, options={"verify_signature": False})
        return float(claims["exp"]) - clock()

    async def live() -> None:
        async with oidc.fresh_token_file(issuer, path, wall_clock=clock, check_every_s=0.01):
            first = path.read_text()
            clock.ahead_s = 200.0
            await asyncio.sleep(0.1)
            assert path.read_text() == first
            clock.ahead_s = 310.0
            second = await next_token(first)
            assert expires_in_s(second) > 500
            clock.ahead_s = 100_000.0
            third = await next_token(second)
            assert expires_in_s(third) > 500
            path.unlink()
            assert expires_in_s(await next_token("")) > 500

    asyncio.run(live())


def test_the_policy_pins_the_default_identity_by_names_that_last(tmp_path: Path) -> None:
    path = write_policy(tmp_path)
    again = write_policy(tmp_path)
    assert path == again == tmp_path / "sigstore/policy.yaml"
    document = yaml.safe_load(path.read_text())
    (signer,) = document["signers"]
    assert document["version"] == 1
    assert signer["organisation"] == "inferencebench-sandbox"
    assert signer["suites"] == ["*"]
    assert (signer["issuer"], signer["identity"]) == (ISSUER, DEFAULT_IDENTITY)
    assert signer["valid_until"] is None
