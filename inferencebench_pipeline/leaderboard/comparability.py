"""The numbers of two records that may be compared: those whose definition is the same in both.

A version that only adds metrics splits nothing. Where it changed one, that number stays on the page
of its run and takes no part in a comparison with the others.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from inferencebench_pipeline.measure import Definitions, definitions_of

_FAMILY: Final = "2"
"""The definitions in the id of a group whose runs name any version that is known here. It is the
version that groups were first published under, so that their pages keep their addresses."""


def family_of(version: str) -> str:
    """Return what the versions of runs share that stand in one comparison group.

    All known versions share one, since most metrics mean the same in all of them. A version that is
    not known, and a record that states none, is compared with its like alone.
    """
    return version if definitions_of(version) is None else _FAMILY


@cache
def comparable_keys(version: str | None, definitions: Definitions | None) -> frozenset[str] | None:
    """Return the metrics of a record that mean what they do in the definitions.

    Args:
        version: the definitions that the record names.
        definitions: those that it is compared under; None of records that state none.

    Returns:
        The keys, or None when all of the record's metrics may be compared.
    """
    stated = definitions_of(version)
    if definitions is None or stated is None or stated is definitions:
        return None
    return stated.agreeing_with(definitions)
