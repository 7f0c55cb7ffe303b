"""The ``schedule`` of a spec, which says when the benchmark repeats itself."""

from __future__ import annotations

import calendar
import re
import zoneinfo
from itertools import pairwise
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from inferencebench_pipeline.measure.spec.part import Part, Setting

_DAY_MINUTES: Final = 24 * 60
_MONTHS: Final = (
    *("jan", "feb", "mar", "apr", "may", "jun"),
    *("jul", "aug", "sep", "oct", "nov", "dec"),
)
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final[tuple[tuple[str, range, tuple[str, ...]], ...]] = (
    ("minute", range(60), ()),
    ("hour", range(24), ()),
    ("day of the month", range(1, 32), ()),
    ("month", range(1, 13), _MONTHS),
    # 0 and 7 are both Sunday.
    ("day of the week", range(8), _WEEKDAYS),
)
_TERM: Final = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d{1,3}))?", re.ASCII)
# February has its longest month in it: a tick on the 29th is rare, and comes.
_LEAP_YEAR: Final = 2024


class Schedule(Part):
    """The times at which a benchmark repeats itself.

    They change when something is measured, never what is measured.
    """

    cron: Setting[str] = Field(max_length=100)
    """The minute, hour, day of the month, month and day of the week: ``0 2 * * *`` is nightly at
    two."""
    timezone: Setting[str] = Field(default="UTC", max_length=100)
    """The IANA name of the time zone that ``cron`` is read in. A time that the clocks jump over is
    ticked right after, and one that they pass twice is ticked once."""
    jitter_s: Setting[int] = Field(default=0, ge=0, le=86_400)
    """The longest delay of a tick, in seconds. The delay is drawn from the spec's name and the
    tick, so it is the same however often it is asked for."""
    grace_s: Setting[int] = Field(default=300, ge=60, le=86_400)
    """The time after which a tick is missed, in seconds: people are told, and it is not made up for
    at an hour that nobody chose."""
    when_busy: Setting[Literal["skip", "queue"]] = "skip"
    """The treatment of a tick while every slot of the pool ``gpu`` is taken: it is skipped, or it
    waits in line."""
    enabled: Setting[bool] = False
    """True when the schedule is on from the start. Otherwise a person switches it on in the UI."""

    @field_validator("cron")
    @classmethod
    def _readable(cls, value: str) -> str:
        _parse(value)
        return " ".join(value.split())

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("not an IANA time zone such as Europe/Zurich or UTC") from error
        return value

    @model_validator(mode="after")
    def _jitter_fits_between_ticks(self) -> Schedule:
        between_s = shortest_gap_s(self.cron)
        if self.jitter_s >= between_s:
            raise ValueError(
                f"jitter_s = {self.jitter_s} is not shorter than the {between_s} s between two "
                f"ticks of {self.cron}"
            )
        return self


def shortest_gap_s(cron: str) -> int:
    """Return the seconds between the two closest times of day that ``cron`` names.

    Raises:
        ValueError: it cannot be read.
    """
    minutes, hours, *_ = _parse(cron)
    times = sorted(hour * 60 + minute for hour in hours for minute in minutes)
    # The last time of a day is followed by the first one of the next.
    gaps = [later - earlier for earlier, later in pairwise([*times, times[0] + _DAY_MINUTES])]
    return min(gaps) * 60


def _parse(cron: str) -> list[set[int]]:
    """Return the allowed values of each of the five fields.

    Raises:
        ValueError: a field is wrong, or no date has what they ask for together.
    """
    texts = cron.split()
    if len(texts) != len(_FIELDS):
        raise ValueError(
            f"has {len(texts)} fields, not the five of cron: minute, hour, day of the month, "
            "month, day of the week"
        )
    fields = [
        _values(text, name, allowed, names)
        for text, (name, allowed, names) in zip(texts, _FIELDS, strict=True)
    ]
    days, months = fields[2], fields[3]
    longest_days = max(calendar.monthrange(_LEAP_YEAR, month)[1] for month in months)
    # With a day of the week as well, cron ticks on either, so that something can come.
    if texts[4] == "*" and min(days) > longest_days:
        raise ValueError(f"no date is day {min(days)} of the month {texts[3]}; it would never tick")
    return fields


def _values(text: str, name: str, allowed: range, names: tuple[str, ...]) -> set[int]:
    found: set[int] = set()
    for term in text.split(","):
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(f"the {name} {text!r} is neither *, 5, 1-5, */5 nor a list of those")
        first, last, step = match.groups()
        low = allowed.start if first is None else _number(first, name, allowed, names)
        # `5` is five alone, and `5/10` goes from five to the end.
        high = low if first and step is None else allowed.stop - 1
        if last is not None:
            high = _number(last, name, allowed, names)
        every = int(step or 1)
        if low > high or every < 1:
            raise ValueError(f"the {name} {term!r} names no value")
        found.update(range(low, high + 1, every))
    return found


def _number(text: str, name: str, allowed: range, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return allowed.start + names.index(text.lower())
    value = int(text) if text.isdecimal() else -1
    if value not in allowed:
        raise ValueError(f"the {name} {text!r} is not from {allowed.start} to {allowed.stop - 1}")
    return value
