"""Alerts to people through their own channel, and the heartbeat that a monitor elsewhere waits for.

A heartbeat that stops tells the monitor that this deployment can no longer send alerts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.untrusted import (
    AnswerTooLargeError,
    Bounds,
    NoAnswerError,
    exchange,
    printable,
    visible,
)


class AlertAddressError(PermanentError):
    """An address that alerts should go to cannot be used. The message does not hold it."""


class AlertNotSentError(RetryableError):
    """At least one address did not take the alert."""


class HeartbeatAddressError(PermanentError):
    """The address of the monitor cannot be used. The message does not hold it."""


class HeartbeatNotSentError(RetryableError):
    """The monitor could not be reached. The message does not hold its address."""


_HEARTBEAT_BOUNDS: Final = Bounds(max_bytes=1_000_000, whole_s=10.0)


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

    title, body = printable(title), visible(body)
    # Its own messages quote addresses.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    targets = apprise.Apprise()
    for position, address in enumerate(addresses, start=1):
        # All are parsed before anything is sent: a wrong one
        # fails the tick, which is then tried again.
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


def send_heartbeat(url: str) -> None:
    """Call a monitor once: a GET, bounded as a whole, whose redirects are not followed.

    Raises:
        HeartbeatAddressError: the address is not one of http or https.
        HeartbeatNotSentError: the monitor could not be reached, or refused.
    """
    if not url.startswith(("https://", "http://")):
        raise HeartbeatAddressError(
            "INFERENCEBENCH_HEARTBEAT_URL does not begin with https:// or http://; give the "
            "address that your monitor shows"
        )
    try:
        host, scheme = urlsplit(url).netloc, urlsplit(url).scheme
        # The bounded exchange asks no environment, so the proxy
        # that urllib would use is named to it.
        proxy = None if proxy_bypass(host) else getproxies().get(scheme)
        answer = exchange("GET", url, _HEARTBEAT_BOUNDS, headers={}, proxy=proxy)
    except (NoAnswerError, AnswerTooLargeError, OSError, ValueError) as error:
        # Its text may quote the address, which is a secret.
        raise HeartbeatNotSentError(
            f"the monitor could not be reached ({type(error).__name__})"
        ) from None
    if not 200 <= answer.status < 300:
        raise HeartbeatNotSentError(f"the monitor answered with {answer.status}")
