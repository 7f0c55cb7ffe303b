"""Sources of the identity token: a file, a command, a variable, or the CI service."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from id import GitHubOidcPermissionCredentialError
from sigstore.oidc import IdentityError, IdentityToken, detect_credential

from inferencebench_pipeline.trust.errors import IdentityTokenError, SigningUnavailableError

TOKEN_VARIABLE: Final = "SIGSTORE_ID_TOKEN"  # noqa: S105  # its name, not its value
COMMAND_DEADLINE_S: Final = 60.0
_MAX_TOKEN_BYTES = 1 << 16
_WORKLOAD_CLAIMS: Final = frozenset(
    {
        "job_workflow_ref",  # GitHub Actions
        "ci_config_ref_uri",  # GitLab
        "pipeline_slug",  # Buildkite
        "oidc.circleci.com/project-id",
        "pipeline_id",  # Codefresh
        "kubernetes.io",
    }
)
"""Claims of issuers for which the certificate names the workload, not the token's subject."""

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


def command_identity(
    command: Sequence[str], *, deadline_s: float = COMMAND_DEADLINE_S
) -> TokenSource:
    """Return a source that runs ``command`` at each call; its standard output is the token.

    For workload identities that are fetched rather than projected, such as SPIFFE's. There is no
    shell, and what the command writes is never repeated: it may be the token.
    """

    def run() -> IdentityToken:
        try:
            # A command that asks a question would find nobody to answer it in a step.
            done = subprocess.run(  # noqa: S603  # the operator's own setting
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=deadline_s
            )
        except OSError as error:
            raise IdentityTokenError(
                f"cannot run the identity token command {command[0]}: {error.strerror or error}; "
                "check INFERENCEBENCH_IDENTITY_TOKEN_COMMAND"
            ) from error
        # This error holds what the command has written, which may be the token, so it is not
        # chained.
        except subprocess.TimeoutExpired:
            raise SigningUnavailableError(
                f"the identity token command {command[0]} gave nothing within {deadline_s:g} s; "
                "the unsigned envelope is kept, sign again later"
            ) from None
        if done.returncode != 0:
            raise SigningUnavailableError(
                f"the identity token command {command[0]} ended with status {done.returncode}; "
                "run it by hand to see why. The unsigned envelope is kept, sign again later"
            )
        return parse_token(done.stdout, where=f"the command {command[0]}")

    return run


def names_its_subject(token: IdentityToken) -> bool:
    """Return whether a certificate for ``token`` names its subject or e-mail address verbatim.

    For CI services and Kubernetes the certificate authority makes a URI out of other claims.
    """
    return not _WORKLOAD_CLAIMS & token._unverified_claims.keys()


def ambient_identity() -> TokenSource:
    """Return a source that asks ``SIGSTORE_ID_TOKEN`` first, then the CI service we run on."""

    def detect() -> IdentityToken:
        # What the operator has set goes before what the surroundings offer.
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
                "set INFERENCEBENCH_IDENTITY_TOKEN_FILE to a projected OIDC token, or "
                "INFERENCEBENCH_IDENTITY_TOKEN_COMMAND to what prints one"
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
        # The cause may quote the token, so it is named by its class and not chained.
        why = type(error.__cause__ or error).__name__
        raise IdentityTokenError(
            f"the identity token from {where} cannot be used ({why}: malformed, expired, not yet "
            "valid, or not for audience sigstore); fetch a fresh one"
        ) from None
