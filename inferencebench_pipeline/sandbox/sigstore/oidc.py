"""The OIDC issuer: it gives identity tokens to anyone, and keeps a fresh one in a file.

The file behaves like a Kubernetes projected service-account token: read it when you need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.sandbox.sigstore.keys import spki_der, write_secret
from inferencebench_pipeline.sandbox.sigstore.names import (
    AUDIENCE,
    DEFAULT_IDENTITY,
    GITHUB,
    GITHUB_ISSUER,
    ISSUER,
    Addresses,
)

TOKEN_LIFETIME_S = 600
_LONGEST_LIFETIME_S = 3600
_RENEW_BELOW_S = TOKEN_LIFETIME_S / 2
_ALGORITHM = "ES256"
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]{1,500}")
_WORKFLOW = re.compile(
    r"(?P<repository>(?P<owner>[\w-]{1,39})/[\w.-]{1,100})/\.github/workflows/[\w.-]{1,100}"
    r"@(?P<ref>refs/[\w./-]{1,100})",
    re.ASCII,
)
_REPOSITORY = re.compile(r"[\w-]{1,39}/[\w.-]{1,100}", re.ASCII)


class IdentityNameError(PermanentError):
    """A name that no certificate could carry."""


class TokenRefusedError(PermanentError):
    """An identity token that this issuer did not issue, or that is not valid now."""


@dataclass(frozen=True)
class Identity:
    """The identity that a token speaks for."""

    subject: str
    """An e-mail address or a URI."""
    issuer: str = ISSUER
    """The party that vouches for it: this issuer, or GitHub, which the sandbox plays as well."""
    extensions: Mapping[int, str] = field(default_factory=dict)
    """The claims of a CI build's certificate, by the last number of Fulcio's extensions."""

    @property
    def is_uri(self) -> bool:
        """True when a certificate names the identity as a URI, and not as an e-mail address."""
        return "://" in self.subject


def identity_named(subject: str) -> Identity:
    """Return the identity with this name.

    Raises:
        IdentityNameError: the name is neither an ASCII e-mail address nor a URI.
    """
    if not (_EMAIL.fullmatch(subject) or _URI.fullmatch(subject)):
        raise IdentityNameError(
            "identity must be an ASCII e-mail address such as pipeline@example.org or a URI such "
            "as https://example.org/workflows/bench"
        )
    return Identity(subject)


def workflow_identity(workflow: str, repository: str | None = None) -> Identity:
    """Return the identity of a GitHub Actions workflow (Fulcio's oid-info.md and docs/oidc.md).

    Args:
        workflow: GitHub's ``job_workflow_ref``, as ``acme/bench/.github/workflows/run.yml@REF``.
        repository: ``OWNER/REPO`` whose commit is built. If None, that of the workflow; another
            one calls it as a reusable workflow.

    Raises:
        IdentityNameError: no workflow or repository could have that name.
    """
    found = _WORKFLOW.fullmatch(workflow)
    built = repository or (found["repository"] if found else "")
    if found is None or not _REPOSITORY.fullmatch(built):
        raise IdentityNameError(
            "workflow must be of the form OWNER/REPO/.github/workflows/FILE@refs/..., and "
            "repository of the form OWNER/REPO"
        )
    address = f"{GITHUB}/{workflow}"
    return Identity(
        address,
        GITHUB_ISSUER,
        {
            9: address,
            11: "github-hosted",
            12: f"{GITHUB}/{built}",
            14: found["ref"],
            16: f"{GITHUB}/{built.partition('/')[0]}",
            18: address,
        },
    )


class OidcIssuer:
    """Issues and checks identity tokens under one key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._key_id = hashlib.sha256(spki_der(key.public_key())).hexdigest()[:16]

    def issue(
        self,
        identity: Identity,
        *,
        audience: str = AUDIENCE,
        lifetime_s: int = TOKEN_LIFETIME_S,
        issued_at: float | None = None,
    ) -> str:
        """Return a signed token; ``sub`` and ``email`` agree, so no client picks the wrong one."""
        now = int(time.time() if issued_at is None else issued_at)
        claims: dict[str, object] = {
            "iss": identity.issuer,
            "sub": identity.subject,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime_s,
        }
        if identity.extensions:
            repository = identity.extensions[12].removeprefix(f"{GITHUB}/")
            claims |= {
                "sub": f"repo:{repository}:ref:{identity.extensions[14]}",
                "job_workflow_ref": identity.subject.removeprefix(f"{GITHUB}/"),
                "repository": repository,
                "repository_owner": repository.partition("/")[0],
                "ref": identity.extensions[14],
            }
        if not identity.is_uri:
            claims |= {"email": identity.subject, "email_verified": True}
        return jwt.encode(claims, self._key, _ALGORITHM, headers={"kid": self._key_id})

    def check(self, token: str) -> Identity:
        """Return the identity that a token speaks for.

        Raises:
            TokenRefusedError: wrong signature, issuer, audience or time. Never repeats the token.
        """
        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                issuer=[ISSUER, GITHUB_ISSUER],
                options={"require": ["iss", "sub", "aud", "iat", "exp"]},
            )
            if claims["iss"] == GITHUB_ISSUER:
                workflow, repository = claims["job_workflow_ref"], claims["repository"]
                return workflow_identity(str(workflow), str(repository))
            return identity_named(str(claims["sub"]))
        except jwt.ExpiredSignatureError as error:
            raise TokenRefusedError("the token has expired; fetch a fresh one") from error
        except jwt.InvalidAudienceError as error:
            raise TokenRefusedError(f"the token's audience is not {AUDIENCE!r}") from error
        except jwt.InvalidIssuerError as error:
            raise TokenRefusedError(f"the token's issuer is not {ISSUER}") from error
        except jwt.InvalidSignatureError as error:
            raise TokenRefusedError("the token was not signed by this issuer") from error
        except jwt.InvalidTokenError as error:
            raise TokenRefusedError("the token is malformed, or lacks a claim") from error
        except IdentityNameError as error:
            raise TokenRefusedError(f"the token's sub: {error}") from error

    def key_set(self) -> dict[str, object]:
        """Return the JWKS (RFC 7517) with the one public key."""
        key = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": self._key_id, "alg": _ALGORITHM, "use": "sig"}]}


def discovery(addresses: Addresses) -> dict[str, object]:
    """Return the discovery document (OpenID Connect Discovery 1.0 section 3).

    ``issuer`` is the issuer's lasting name, not the URL it was fetched from. There is no
    authorization endpoint: nobody sits here to be asked.
    """
    return {
        "issuer": ISSUER,
        "jwks_uri": f"{addresses.oidc}/jwks",
        "token_endpoint": f"{addresses.oidc}/token",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [_ALGORITHM],
    }


def routes(issuer: OidcIssuer, addresses: Addresses) -> list[Route]:
    """Return the issuer's endpoints.

    ``POST /token`` takes form fields ``subject``, ``audience`` and ``lifetime_s``, all optional,
    and asks for no credential: on loopback anyone can be anybody. With ``workflow``, and
    ``repository`` when another one calls it, the token is GitHub's for a job of that workflow.
    """

    async def configuration(_request: Request) -> JSONResponse:
        return JSONResponse(discovery(addresses))

    async def keys(_request: Request) -> JSONResponse:
        return JSONResponse(issuer.key_set())

    async def token(request: Request) -> JSONResponse:
        async with request.form(max_files=0, max_fields=8) as form:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
        try:
            identity = (
                workflow_identity(fields["workflow"], fields.get("repository"))
                if "workflow" in fields
                else identity_named(fields.get("subject", DEFAULT_IDENTITY))
            )
            lifetime_s = _lifetime(fields.get("lifetime_s", str(TOKEN_LIFETIME_S)))
        except (IdentityNameError, ValueError) as error:
            body = {"error": "invalid_request", "error_description": str(error)}
            return JSONResponse(body, status_code=400)
        raw = issuer.issue(
            identity, audience=fields.get("audience", AUDIENCE), lifetime_s=lifetime_s
        )
        answer = {"id_token": raw, "token_type": "Bearer", "expires_in": lifetime_s}
        # RFC 6749 section 5.1 asks for this of every answer that holds a token.
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    return [
        Route("/.well-known/openid-configuration", configuration),
        Route("/jwks", keys),
        Route("/token", token, methods=["POST"]),
    ]


def _lifetime(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _LONGEST_LIFETIME_S:
        raise ValueError(f"lifetime_s must be a whole number from 1 to {_LONGEST_LIFETIME_S}")
    return int(text)


@contextlib.asynccontextmanager
async def fresh_token_file(
    issuer: OidcIssuer,
    path: Path,
    *,
    wall_clock: Callable[[], float] = time.time,
    check_every_s: float = 5.0,
) -> AsyncIterator[None]:
    """Keep a valid token of the default identity in ``path`` for as long as the context lasts.

    It is there on entry and is renewed at half its life, or when somebody removed it. On exit it
    is removed.
    """
    expires_at = _write_token(issuer, path, wall_clock())

    async def renew() -> None:
        """Look at the wall clock often: it moves on while a laptop sleeps, and timers do not."""
        nonlocal expires_at
        while True:
            await asyncio.sleep(check_every_s)
            remaining_s = expires_at - wall_clock()
            if not _RENEW_BELOW_S < remaining_s <= TOKEN_LIFETIME_S or not path.exists():
                with contextlib.suppress(OSError):  # a full disk: try again at the next look
                    expires_at = _write_token(issuer, path, wall_clock())

    renewal = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewal.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewal
        path.unlink(missing_ok=True)


def _write_token(issuer: OidcIssuer, path: Path, now: float) -> float:
    """Write a fresh token and return when it expires, seconds since the epoch."""
    token = issuer.issue(identity_named(DEFAULT_IDENTITY), issued_at=now)
    write_secret(path, token.encode())
    return int(now) + TOKEN_LIFETIME_S
