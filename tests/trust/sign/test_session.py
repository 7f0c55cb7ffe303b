"""The certificate of a signing session: which one a certificate authority may hand out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sigstore.oidc import IdentityToken

from inferencebench_pipeline.trust.errors import IdentityTokenError, SigningRefusedError
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, parse_trust
from inferencebench_pipeline.trust.sign import session
from inferencebench_pipeline.trust.sign.identity_token import parse_token
from inferencebench_pipeline.trust.sign.services import SigningDeadlines, open_services
from inferencebench_pipeline.trust.sign.session import SigningSession
from inferencebench_pipeline.trust.verify.certificates import SignerIdentity
from tests.trust.conftest import World

SOMEBODY = "someone@example.org"


def token_of(world: World, subject: str = SOMEBODY, **claims: Any) -> IdentityToken:
    """Return a token of the sandbox's issuer, or one with other claims: nobody here checks it."""
    raw = world.raw_token(subject)
    if claims:
        changed = jwt.decode(raw, options={"verify_signature": False}) | claims
        raw = jwt.encode(changed, "x" * 32, "HS256")
    return parse_token(raw.encode(), where="the test")


def begin(world: World, token: IdentityToken, trust: TrustRoot | None = None) -> SigningSession:
    trust = trust or world.trust
    services = open_services(trust.require_signing(), rekor_version=2, deadlines=SigningDeadlines())
    return SigningSession.begin(services, token, trust)


def otherwise(world: World, change: Callable[[dict[str, Any]], None]) -> TrustRoot:
    """Return the trust material of the sandbox with a change in its trusted root."""
    document = json.loads(world.trust_config.read_text())
    change(document["trustedRoot"])
    return parse_trust(json.dumps(document).encode(), where="a changed root")


def checked(
    world: World, began: SigningSession, token: IdentityToken, **changes: Any
) -> SignerIdentity:
    """Check the certificate of a session again, with something else than what belongs to it."""
    given: dict[str, Any] = {"key": began._key, "trust": world.trust} | changes
    return session._require_certificate(began.certificate, token=token, **given)


def test_the_certificate_of_a_session_is_ours_and_lasts_for_minutes(world: World) -> None:
    token = token_of(world)
    began = begin(world, token)
    assert checked(world, began, token) == began.signer
    assert began.signer.identity == SOMEBODY
    assert began.lasts(timedelta(minutes=5))
    assert not began.lasts(timedelta(minutes=15))


def test_a_certificate_for_another_key_is_none_of_ours(world: World) -> None:
    token = token_of(world)
    with pytest.raises(ValueError, match="it is for another key than ours"):
        checked(world, begin(world, token), token, key=ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize("ahead", [timedelta(minutes=-1), timedelta(minutes=11)])
def test_a_certificate_of_another_time_says_to_compare_the_clocks(
    world: World, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls.fromtimestamp((datetime.now(UTC) + ahead).timestamp(), tz)

    token = token_of(world)
    began = begin(world, token)
    monkeypatch.setattr(session, "datetime", Clock)
    with pytest.raises(ValueError, match=r"it is valid .* now is .*; compare the clocks"):
        checked(world, began, token)


def test_an_authority_that_is_not_trusted_any_more_certifies_nobody(world: World) -> None:
    def ended(root: dict[str, Any]) -> None:
        for authority in root["certificateAuthorities"]:
            authority["validFor"]["end"] = "2026-01-01T00:00:00Z"

    token = token_of(world)
    began = begin(world, token)
    said = "no certificate authority that is trusted now issued it"
    with pytest.raises(ValueError, match=said):
        checked(world, began, token, trust=otherwise(world, ended))
    with pytest.raises(SigningRefusedError, match=f"cannot be used: {said}"):
        begin(world, token, otherwise(world, ended))


def test_a_timestamp_of_an_authority_that_is_not_trusted_is_not_taken(world: World) -> None:
    def without_clocks(root: dict[str, Any]) -> None:
        root["timestampAuthorities"] = []

    trust = otherwise(world, without_clocks)
    services = open_services(trust.require_signing(), rekor_version=2, deadlines=SigningDeadlines())
    before = world.log_sizes()
    with pytest.raises(SigningRefusedError, match="a timestamp that does not verify against"):
        begin(world, token_of(world), trust).sign_message(b"a message", services)
    assert world.log_sizes() == before


def test_a_certificate_for_somebody_else_or_of_another_issuer_is_refused(world: World) -> None:
    began = begin(world, token_of(world))
    with pytest.raises(ValueError, match=rf"for {SOMEBODY}, the token for other@example.org"):
        checked(world, began, token_of(world, "other@example.org"))
    elsewhere = token_of(world, iss="https://issuer.example.net")
    with pytest.raises(ValueError, match=r"its issuer is .*, the token's https://issuer\.example"):
        checked(world, began, elsewhere)


def test_a_token_that_ran_out_since_it_was_read_is_no_refusal_of_the_authority(
    world: World,
) -> None:
    ends_s = int(time.time()) + 2
    token = token_of(world, exp=ends_s)
    time.sleep(max(0.0, ends_s - time.time()))
    with pytest.raises(IdentityTokenError, match="the identity token expired; fetch a fresh one"):
        begin(world, token)


def test_a_certificate_that_no_trusted_log_of_certificates_knows_is_refused(world: World) -> None:
    def confused(root: dict[str, Any]) -> None:
        for log in root["ctlogs"]:
            log["publicKey"] = root["tlogs"][0]["publicKey"]

    with pytest.raises(SigningRefusedError, match="that the trust root does not cover"):
        begin(world, token_of(world), otherwise(world, confused))


def test_what_is_no_statement_is_not_signed_as_one(world: World) -> None:
    began = begin(world, token_of(world))
    services = open_services(
        world.trust.require_signing(), rekor_version=2, deadlines=SigningDeadlines()
    )
    with pytest.raises(SigningRefusedError, match="not an in-toto statement"):
        began.sign_statement(b"{}", services)
