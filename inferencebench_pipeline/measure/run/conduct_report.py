"""The report on a run's conduct: its repeats, its looks, and how long each took to settle."""

from __future__ import annotations

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.run.stopping_rule import Conduct


class Settling(DocumentPart):
    """The end of the start-up in the TTFTs of one repeat's measured requests, by MSER-5.

    Nothing is cut off by it: the warm-up came before, and the metrics keep every request. A reader
    who wants less has the number here and the traces beside it.
    """

    repeat: int = Field(ge=1)
    """The number of the repeat, from 1 on."""
    requests: int = Field(ge=0)
    """The number of measured requests that were looked at."""
    start_up_requests: int = Field(ge=0)
    """The number of requests before the end of the start-up."""
    steady: bool
    """True when the repeat settled."""
    reason: str
    """The reason for the verdict."""


class ConductReport(DocumentPart):
    """The conduct of a run, as its measurement and its envelope state it."""

    conduct: Conduct
    """The repeats, and the looks that ended them."""
    settling: tuple[Settling, ...]
    """The end of the start-up of each repeat."""
