"""Alerts: telling people, through whatever they read, that something needs them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from inferencebench_pipeline.errors import PermanentError, RetryableError


class AlertAddressError(PermanentError):
    """An address that alerts should go to cannot be used. The message does not hold it."""


class AlertNotSentError(RetryableError):
    """At least one address did not take the alert."""


def send_alert(addresses: Sequence[str], *, title: str, body: str) -> None:
    """Send one alert to every address.

    Args:
        addresses: Apprise URLs (``json://`` and ``jsons://`` for a plain webhook, ``slack://``,
            ``mmost://``, ``mailtos://``, ...). They hold secrets and are never repeated.
        title: one line.
        body: plain text.

    Raises:
        AlertAddressError: an address is not understood; nobody was told.
        AlertNotSentError: some were told and some not; sending again tells all of them.
    """
    # Imported here: the library knows over a hundred services, and most processes need none.
    import apprise

    # Its own messages quote addresses.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    targets = apprise.Apprise()
    for position, address in enumerate(addresses, start=1):
        if not targets.add(address):
            scheme = address.partition("://")[0] if "://" in address else "none"
            raise AlertAddressError(
                f"alert address number {position} (scheme {scheme!r}) is not understood; see the "
                "Apprise documentation for how addresses of that service are written"
            )
    if not targets.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT):
        raise AlertNotSentError(
            f"not all of the {len(addresses)} alert addresses took the alert {title!r}; it is sent "
            "again at the next tick"
        )
