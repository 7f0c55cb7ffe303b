"""The files of telemetry: the sampler's spool and facts, and ``telemetry.parquet``."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.errors import CaptureError
from inferencebench_pipeline.measure.telemetry.readings import Reading, SourceFacts
from inferencebench_pipeline.measure.telemetry.report import EngineUse

TELEMETRY_SCHEMA_VERSION: Final = "1"

_FIELDS: Final[list[pa.Field[Any]]] = [
    pa.field("time_ns", pa.int64(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("device", pa.string(), nullable=False),
    pa.field("quantity", pa.string(), nullable=False),
    pa.field("value", pa.float64()),
]
SCHEMA: Final = pa.schema(_FIELDS)
"""One row per reading: nanoseconds after the run's origin (that of ``traces.parquet``), and the
quantity with its unit in its name. A null value is a reading that failed."""


class Sampling(DocumentPart):
    """The devices that were sampled, and the cost of sampling."""

    sources: tuple[SourceFacts, ...]
    """The sources that were read."""
    engine: EngineUse
    """The GPUs that the engine used."""
    realtime_minus_monotonic_ns: int
    """The wall clock minus the monotonic clock, in nanoseconds."""
    sampler_cpu_s: float = Field(ge=0)
    """The CPU time of the sampler, in seconds."""
    sampler_wall_s: float = Field(ge=0)
    """The time for which the sampler ran, in seconds."""
    readings: int = Field(ge=0)
    """The number of readings."""


def read_sampling(spool: Path, facts: Path) -> tuple[list[Reading], Sampling] | None:
    """Return the readings and the facts of a run, or None when it sampled nothing.

    Raises:
        CaptureError: one of the two is damaged.
    """
    try:
        described = Sampling.model_validate_json(facts.read_bytes())
        with spool.open() as lines:
            # The last line is torn when the disk was full: that reading was never taken.
            readings = [Reading(*json.loads(line)) for line in lines if line.endswith("\n")]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise CaptureError(
            f"the telemetry beside {spool} is damaged ({error}); run the benchmark again"
        ) from error
    return readings, described


def telemetry_parquet(
    readings: Sequence[Reading], described: Sampling, origin_unix_ns: int
) -> bytes:
    """Return the bytes of ``telemetry.parquet``.

    Args:
        readings: in the order they were taken.
        described: goes into the file's metadata.
        origin_unix_ns: the run's origin, in Unix time.
    """
    # Readings carry the monotonic clock, and the origin is in Unix time.
    shift = described.realtime_minus_monotonic_ns - origin_unix_ns
    columns: dict[str, list[Any]] = {
        "time_ns": [reading.time_ns + shift for reading in readings],
        "source": [reading.source for reading in readings],
        "device": [reading.device for reading in readings],
        "quantity": [reading.quantity for reading in readings],
        "value": [reading.value for reading in readings],
    }
    metadata = {
        "telemetry_schema_version": TELEMETRY_SCHEMA_VERSION,
        "origin_unix_ns": str(origin_unix_ns),
        "sampling": described.model_dump_json(),
    }
    table = pa.Table.from_pydict(columns, schema=SCHEMA.with_metadata(metadata))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
