"""The order of the versions that records name: whole numbers as texts, from "1" upwards."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def is_later_version(version: str, known: str) -> bool:
    """Return whether ``version`` is one that comes after the newest ``known`` one.

    False for a text that is no version at all: such a record is wrong, and not new.
    """
    return _NUMBER.fullmatch(version) is not None and int(version) > int(known)
