"""Where the identity token comes from: a projected file, a variable, or the CI service."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from id import GitHubOidcPermissionCredentialError
from sigstore.oidc import IdentityError, IdentityToken, detect_credential

from inferencebench_pipeline.trust.errors import IdentityTokenError, SigningUnavailableError

TOKEN_VARIABLE: Final = "SIGSTORE_ID_TOKEN"  # noqa: S105  # its name, not its value
_MAX_TOKEN_BYTES = 1 << 16

TokenSource = Callable[[], IdentityToken]
"""Returns a token that is valid now. Called once per signature, at the moment of signing."""


def file_identity(path: Path) -> TokenSource:
    """Return a source that reads ``path`` at each call, as a projected token needs."""

    def read() -> IdentityToken:
        try:
            with path.open("rb") as handle:
                raw = handle.read(_MAX_TOKEN_BYTES + 1)
        except OSError as error:
            raise IdentityTokenError(
                f"cannot read the identity token file {path}: {error.strerror or error}; check "
                "that the token is projected there and readable by this user"
            ) from error
        return parse_token(raw, where=f"the file {path}")

    return read


def ambient_identity() -> TokenSource:
    """Return a source that asks ``SIGSTORE_ID_TOKEN`` first, then the CI service we run on."""

    def detect() -> IdentityToken:
        given = os.environ.get(TOKEN_VARIABLE)
        if given:
            return parse_token(given.encode(), where=f"the variable {TOKEN_VARIABLE}")
        try:
            detected = detect_credential()
        except IdentityError as error:
            if isinstance(error.__cause__, GitHubOidcPermissionCredentialError):
                raise IdentityTokenError(
                    f"this GitHub job may not ask for an identity token: {error}; give it the "
                    "permission id-token: write"
                ) from error
            raise SigningUnavailableError(
                f"this CI service offers identity tokens, but none could be fetched: {error}; "
                "the unsigned envelope is kept, sign again later"
            ) from error
        if detected is None:
            raise IdentityTokenError(
                f"no identity token: {TOKEN_VARIABLE} is not set and no CI service was detected; "
                "set INFERENCEBENCH_IDENTITY_TOKEN_FILE to a projected OIDC token"
            )
        return parse_token(detected.encode(), where="the CI service")

    return detect


def parse_token(raw: bytes, *, where: str) -> IdentityToken:
    """Return the token in ``raw``, checked for shape, audience and time but not for signature.

    The certificate authority checks the signature; nobody else can.

    Raises:
        IdentityTokenError: it is not usable. The message never repeats the token.
    """
    if len(raw) > _MAX_TOKEN_BYTES:
        raise IdentityTokenError(f"the identity token from {where} is too large to be a token")
    try:
        return IdentityToken(raw.decode("ascii").strip())
    except (IdentityError, ValueError) as error:
        why = type(error.__cause__ or error).__name__
        raise IdentityTokenError(
            f"the identity token from {where} cannot be used ({why}: malformed, expired, not yet "
            "valid, or not for audience sigstore); fetch a fresh one"
        ) from None
