"""Runs that wait for the end of an outage, with the stage they stopped at and the next attempt.

A parked run is a file in its directory, so it outlives every process; whoever finishes the stage
removes it. Only outages park a run; one that was refused waits for a person.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import AwareDatetime, Field, ValidationError

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.files import StoreError, read_plain
from inferencebench_pipeline.runs import RunBusyError, RunDirectory, RunFile

FIRST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(hours=6)
_REASON_CHARACTERS = 600


class Parked(DocumentPart):
    """The content of ``parked.json``."""

    version: Literal[1] = 1
    """The version of the form of the document."""
    stage: str
    """The stage to go on with; those after it follow."""
    reason: str
    """The outage in one sentence."""
    since: AwareDatetime
    """The time since which the run has been parked (UTC)."""
    attempts: int = Field(ge=1)
    """The number of attempts so far."""
    not_before: AwareDatetime
    """Time of the next attempt: later after each one, or as the other side asked."""


def parked_state(run: RunDirectory) -> Parked | None:
    """Return why and where ``run`` is parked; None when it is not.

    A file that cannot be read counts as none: the run's other files say how far it has come.
    """
    if not run.has(RunFile.PARKED):
        return None
    try:
        return Parked.model_validate_json(read_plain(run.file(RunFile.PARKED)))
    except (OSError, ValidationError):
        return None


@contextlib.contextmanager
def parked_by_an_outage(run: RunDirectory, stage: str) -> Iterator[None]:
    """Park ``run`` when an outage ends the body; take it off when the body succeeds.

    Every error goes on to the caller. A refusal takes the run off too, since trying again by
    itself would not help.
    """
    try:
        yield
    except RunBusyError:
        raise  # whoever works on the run parks it, or finishes it
    except RetryableError as error:
        # A disk that is full must not hide the outage; the stage's own failure is seen anyway.
        with contextlib.suppress(StoreError):
            run.write(RunFile.PARKED, _parked(run, stage, error).model_dump_json(indent=2).encode())
        raise
    except PermanentError:
        with contextlib.suppress(StoreError):
            run.remove(RunFile.PARKED)
        raise
    run.remove(RunFile.PARKED)


def _parked(run: RunDirectory, stage: str, error: RetryableError) -> Parked:
    now = datetime.now(UTC)
    before = parked_state(run)
    again = before is not None and before.stage == stage
    attempts = 1
    if before is not None and again:
        # A step that tries once more before the time has come is still the same attempt; a time
        # beyond the longest wait was written while the clock was ahead.
        attempts = before.attempts + (not now < before.not_before <= now + LONGEST_WAIT)
    # Bounded: beyond 20 doublings a timedelta overflows, and six hours are long exceeded.
    wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 20), LONGEST_WAIT)
    # A hint is followed up to the longest wait; a server that asks for a month is not believed.
    asked = timedelta(seconds=min(error.retry_after_s or 0.0, LONGEST_WAIT.total_seconds()))
    return Parked(
        stage=stage,
        reason=str(error)[:_REASON_CHARACTERS],
        # A time ahead of now was written by a clock that was wrong.
        since=min(before.since, now) if before is not None and again else now,
        attempts=attempts,
        not_before=now + max(wait, asked),
    )
