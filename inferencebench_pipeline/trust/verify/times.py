"""The times of a run beside the trusted time of its signature, which cannot come before its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""The tolerated error of the clock of the machine that measured, which nothing vouches for. Five
minutes are what Kerberos grants (RFC 4120, section 8.2); one that is set over the network is off by
milliseconds."""


def time_contradiction(timestamp: datetime, signed_at: datetime) -> str | None:
    """Return why a run cannot have ended when its record says; None when it can.

    Args:
        timestamp: the end of the run, as the envelope states it.
        signed_at: the earliest time of the signature that a trusted clock vouches for: the
            integrated time of a Rekor v1 entry, or that of a timestamp.
    """
    if timestamp <= signed_at + CLOCK_TOLERANCE:
        return None
    return (
        f"the record says that its run ended at {timestamp.isoformat()}, but it was signed by "
        f"{signed_at.isoformat()}; set the clock of the machine that measures"
    )
