"""Words of the pages for states and tiers, and numbers and instants in a readable form."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

from inferencebench_pipeline.leaderboard.envelope_source import FOREIGN_DEFINITIONS
from inferencebench_pipeline.measure import definitions_of

NO_VALUE = "–"

STATES = {
    "verified": "Verified; ranked.",
    "duplicate": "Verified, but another record of the same run was signed before it.",
    "invalid": "Verified, but the measurement failed one of its own validity checks.",
    "unverified": "Published, and not verified yet.",
    "traces_missing": "The signature is good, but the traces behind the metrics are not there.",
    "disputed": "Verified, but something else stands against it.",
    "rejected": "Verification failed.",
    "newer": "Signed as it should be, and of a later version than this site can judge.",
    "malformed": "The envelope cannot be read.",
    "no_envelope": "The repository holds no envelope.",
    "unreadable": "Its files were refused, or state what no table holds.",
    "vanished": "Published once, gone from the Hub now.",
    "moved": "The same envelope is published under another name now.",
}
"""The meaning of each state of a run, for a reader."""

MILD_STATES = ("duplicate", "unverified", "newer", "moved", "no_envelope")
"""States that speak against nobody."""

TIERS = {
    "verified": "Signed by an identity the policy names, recorded in a transparency log, and every "
    "check passed.",
    "dev": "Signed with a bare key the policy names; no log proves when.",
    "community": "Passed, but published outside our namespace, or proposed and not yet accepted.",
    "merged": "Accepted by the model's author.",
    "withheld": "A quality result that the model's author took away.",
    "failed": "Verification rejected it, or there is nothing that can be verified.",
}
"""The meaning of each tier, for a reader."""


def format_value(value: float | None) -> str:
    """Return a number for reading: about four significant digits, thousands separated."""
    if value is None:
        return NO_VALUE
    # A float holds some 15 digits, and those beyond would be made up.
    if abs(value) >= 1e15:
        return f"{value:.4g}"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def format_percent(ratio: float) -> str:
    """Return a relative change for reading, signed, with one decimal."""
    return f"{ratio * 100:+.1f} %"


def format_instant(text: str) -> str:
    """Return an RFC 3339 instant in UTC to the minute; the text itself when it is not one."""
    try:
        # The change of zone overflows near the first and the last year of the calendar.
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return text


def format_day(text: str | None) -> str | None:
    """Return the UTC day of an instant; at most ten characters of what is not one."""
    return format_instant(text)[:10] if text is not None else None


def http_url(url: str | None) -> str | None:
    """Return ``url`` when a browser may be sent there, else None: no ``javascript:``, no files."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


def metric_words(row_definitions: str | None, key: str) -> tuple[str, str | None]:
    """Return a metric's label and the sentence that defines it, where the envelope states one."""
    definitions = definitions_of(row_definitions)
    known = definitions.metrics.get(key) if definitions else None
    return (known.label, known.definition) if known else (key, None)


def unit_words(unit: str | None) -> str | None:
    """Return a unit worth writing: a ratio has none."""
    return unit if unit and unit != "ratio" else None


def is_foreign(definitions: str | None) -> bool:
    """Return whether an envelope does not say how its numbers came about."""
    return definitions in (None, FOREIGN_DEFINITIONS)
