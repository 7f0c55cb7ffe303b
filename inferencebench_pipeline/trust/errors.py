"""The errors of signing, and of trust material that cannot be used."""

from __future__ import annotations

from inferencebench_pipeline.errors import PermanentError, RetryableError


class SigningUnavailableError(RetryableError):
    """A signing service is down, slow or answered nonsense; the unsigned envelope is intact."""


class SigningRefusedError(PermanentError):
    """A signing service said no, or what it returned does not verify; a retry changes nothing."""


class IdentityTokenError(PermanentError):
    """There is no identity token, or it cannot be used. The token itself is never repeated."""


class PolicyError(PermanentError):
    """The identity policy cannot be read or says something it may not say."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems or (message,)
        """A sentence for each thing that is wrong, with its line where it has one."""


class TrustConfigError(PermanentError):
    """The trust configuration cannot be read or lacks what is asked of it."""


class TrustRefreshError(RetryableError):
    """Sigstore's public-good trust root could not be refreshed through TUF."""


class TrustRollbackError(PermanentError):
    """The published trust root is older than the one that is known; somebody may be attacking."""
