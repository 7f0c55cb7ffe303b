"""The conduct of a run, read from its capture, and how long each of its repeats took to settle."""

from __future__ import annotations

from pydantic import ValidationError

from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.errors import CaptureError
from inferencebench_pipeline.measure.metrics.arrays import Rows
from inferencebench_pipeline.measure.metrics.steady_state import mser5
from inferencebench_pipeline.measure.run.conduct_report import ConductReport, Settling
from inferencebench_pipeline.measure.run.stopping_rule import CONDUCT, Conduct
from inferencebench_pipeline.measure.traces.reader import Traces


def conduct_report(capture: Capture, traces: Traces) -> ConductReport | None:
    """Return the conduct of the run of ``capture``; None when the run did not record it.

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
    """Return the length of the start-up of each repeat, in requests."""
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
