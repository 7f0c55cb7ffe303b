"""What a measurement says about its conduct: repeats, looks, and how long each took to settle."""

from __future__ import annotations

from pydantic import Field, ValidationError

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.errors import CaptureError
from inferencebench_pipeline.measure.metrics.arrays import Rows
from inferencebench_pipeline.measure.metrics.steady_state import mser5
from inferencebench_pipeline.measure.run.stopping_rule import CONDUCT, Conduct
from inferencebench_pipeline.measure.traces.reader import Traces


class Settling(DocumentPart):
    """Where MSER-5 puts the end of the start-up in the TTFTs of one repeat's measured requests.

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


def conduct_report(capture: Capture, traces: Traces) -> ConductReport | None:
    """Return how the run of ``capture`` was conducted; None of one that did not record it.

    Raises:
        CaptureError: the record is damaged.
    """
    path = capture.path / CONDUCT
    try:
        conduct = Conduct.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise CaptureError(f"{path} is damaged: {error}; run it again") from error
    return ConductReport(conduct=conduct, settling=settling(traces))


def settling(traces: Traces) -> tuple[Settling, ...]:
    """Return how long each repeat took to settle, in requests."""
    rows = Rows.of(traces.rows)
    ttft_ns = rows.first_token - rows.sent
    found = []
    for repeat in sorted(set(rows.repeat[rows.measured].tolist())):
        cut = mser5(ttft_ns[rows.good & (rows.repeat == repeat)])
        found.append(
            Settling(
                repeat=repeat,
                requests=cut.observations,
                start_up_requests=cut.cut,
                steady=cut.steady,
                reason=cut.reason,
            )
        )
    return tuple(found)
