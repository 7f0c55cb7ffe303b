"""The errors between a spec and a measurement, retryable or permanent."""

from __future__ import annotations

from inferencebench_pipeline.errors import PermanentError, RetryableError


class SpecError(PermanentError):
    """A benchmark spec is unreadable, or a field of it is unknown, missing or out of range."""


class EngineUnreachableError(RetryableError):
    """The engine did not start, or nothing answers at its address, within the deadline."""


class EngineDiedError(RetryableError):
    """The engine answered at first and went away while it was being measured."""


class EngineMissingError(PermanentError):
    """The software or the model file of an engine that we start ourselves is not installed."""


class ModelNotServedError(PermanentError):
    """The engine answers, but does not serve the model that the spec names."""


class AllRequestsFailedError(PermanentError):
    """Not one measured request succeeded, so there is nothing to report but the failures."""


class RunDeadlineError(PermanentError):
    """The run did not finish within ``deadlines.run_s``."""


class CaptureError(PermanentError):
    """A capture is missing, incomplete or damaged; only measuring again can help."""


class TracesError(PermanentError):
    """A traces file is truncated, is not Parquet, or does not follow the schema."""


class EngineAccessError(PermanentError):
    """The engine refuses the API key, or the key is not set, or is not for the engine's address."""


class EngineAnswerError(PermanentError):
    """The answer at the engine's address is not the answer of an engine."""


class CaptureTooLargeError(PermanentError):
    """The answers of a run came to more than ``limits.capture_bytes``."""
