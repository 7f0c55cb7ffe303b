"""Replicas that lag behind what was written a moment ago: an outage, never an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inferencebench_pipeline.hub.client.errors import HubNotFoundError, HubUnavailableError


@contextmanager
def just_written(what: str) -> Iterator[None]:
    """Take "not found" inside of the block for a Hub that does not show ``what`` yet.

    Raises:
        HubUnavailableError: instead of ``HubNotFoundError``: what was acknowledged is there.
    """
    try:
        yield
    except HubNotFoundError as error:
        raise HubUnavailableError(
            f"{what} was just written and is not shown yet ({error}); it should be soon, try again"
        ) from error
