"""The errors of the Hub's client, as types that a caller can act on."""

from __future__ import annotations

from inferencebench_pipeline.errors import PermanentError, RetryableError


class HubUnavailableError(RetryableError):
    """The Hub did not answer in time, or answered 5xx, on every attempt."""


class HubRateLimitError(RetryableError):
    """A quota is used up; ``retry_after_s`` says when the Hub expects us back, if it said so.

    Raised instead of sleeping when the wait is longer than a step should hold its slot: quotas on
    actions (commits, repositories) are refilled by the hour.
    """


class HubHeadMovedError(RetryableError):
    """Somebody committed between our reading and our writing (412): read again, then write."""


class HubPermissionError(PermanentError):
    """The token is missing, invalid, or may not do this."""


class HubNotFoundError(PermanentError):
    """No such repository, revision or file, or it is hidden from this token."""


class HubConflictError(PermanentError):
    """The place is taken by other content, which is never overwritten."""


class HubRejectedError(PermanentError):
    """The Hub refused the request as wrong; sending it again cannot help."""


class HubIntegrityError(PermanentError):
    """The Hub serves other bytes than were sent, or an answer that contradicts its own API."""
