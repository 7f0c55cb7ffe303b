"""The checks of a run's traces: statements about the file, from the file alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from inferencebench_pipeline.measure.metrics.arrays import Bools, Int64s, TraceArrays
from inferencebench_pipeline.measure.metrics.statistics import FEWEST_OBSERVATIONS, FEWEST_REPEATS
from inferencebench_pipeline.measure.metrics.steady_state import mser5
from inferencebench_pipeline.measure.metrics.validity_flags import ValidityFlag
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.spec.workload import FixedLength, Workload
from inferencebench_pipeline.measure.traces.order import ChunkFacts, out_of_order
from inferencebench_pipeline.measure.traces.reader import Traces
from inferencebench_pipeline.measure.traces.schema import (
    PHASES,
    SCHEMA,
    planned_requests,
    traces_metadata,
)

_LATENESS_FLOOR_NS: Final = 1_000_000
_LATENESS_SHARE_OF_TTFT: Final = 0.01
_KERNEL_SHARE: Final = 0.99
# MLPerf's compliance test TEST09 grants the mean output length as much.
_LENGTH_TOLERANCE: Final = 0.10
_COUNT_TOLERANCE: Final = 0.02
"""The tolerated distance of the engine's token counts from the tokenizer's, since special tokens
have no text."""
_CACHED_SHARE: Final = 0.25
"""The share of all prompt tokens from which a cache is reported. Less is the chat template that
every prompt begins with."""
_REPEATED_TTFT: Final = 0.5
_FEWEST_REPEATED: Final = 8
_STEADY_WINDOW_NS: Final = 10**9


def check_traces(traces: Traces | pa.Table) -> list[ValidityFlag]:
    """Return every statement about traces, the ones that hold included.

    ``error``: the numbers are not those of the run that the file claims to hold. ``warn``: they
    are, and a reader must know this about them.

    Raises:
        TracesError: the file they come from is damaged.
    """
    if isinstance(traces, pa.Table) and not traces.schema.remove_metadata().equals(SCHEMA):
        return [_flag("schema", "error", "the columns are not those of the traces schema")]
    judge = _Judge(Traces.of(traces))
    return [
        _flag("schema", "error", None, "columns and types are those of the traces schema"),
        _flag("requests_complete", "error", judge.incomplete(), "every planned request"),
        _flag("monotone_times", "error", judge.out_of_order(), "every instant after its cause"),
        _flag("some_success", "error", judge.no_success(), "at least one measured request"),
        _flag("no_failures", "warn", judge.failures(), "every measured request succeeded"),
        _flag("enough_samples", "warn", judge.too_few(), "enough to say how sure the numbers are"),
        _flag("steady", "warn", judge.unsteady(), "the load had settled (MSER-5)"),
        _flag("token_counts", "warn", judge.uncounted(), "every success has the engine's count"),
        _flag("token_counts_agree", "warn", judge.disagreeing(), "no count by a tokenizer differs"),
        _flag("one_token_per_chunk", "warn", judge.bundled(), "a chunk carries one token"),
        _flag("output_length", "warn", judge.length(), "as long as was asked for"),
        _flag("dispatch_lateness", "warn", judge.lateness(), "requests left on time"),
        _flag(
            "not_cached", "warn", judge.cached(), "no sign of a prompt cache that was not asked for"
        ),
        _flag("kernel_stamps", "warn", judge.stamps(), "arrivals were stamped by the kernel"),
    ]


def _flag(
    name: str, severity: Literal["error", "warn"], problem: str | None, fine: str = ""
) -> ValidityFlag:
    return ValidityFlag(name=name, ok=problem is None, severity=severity, detail=problem or fine)


class _Judge:
    """Says what is wrong with the traces, each in one sentence, or None."""

    def __init__(self, traces: Traces) -> None:
        self._table = traces.rows
        # No statement here is about an SLO, so no deadline needs to be set for tokens.
        self._arrays = TraceArrays.of(traces, Slo())
        self._chunks = ChunkFacts.of(traces)
        rows = self._arrays.rows
        self._good = rows.good
        self._ttft = (rows.first_token - rows.sent)[self._good]

    def _column(self, name: str) -> npt.NDArray[Any]:
        return self._table.column(name).to_numpy()

    def _counts(self, name: str) -> Int64s:
        """Return a column of counts, with -1 for null."""
        filled = pc.fill_null(self._table.column(name), pa.scalar(-1, pa.int64()))
        return cast("pa.ChunkedArray[Any]", filled).to_numpy().astype(np.int64)

    def _workload(self) -> Workload | None:
        try:
            return Workload.model_validate_json(traces_metadata(self._table).get("workload", ""))
        except ValidationError:
            return None

    def incomplete(self) -> str | None:
        rows, bounds = self._arrays.rows, self._arrays.bounds
        if [int(rows.repeat[start]) for start, _ in bounds] != list(range(1, len(bounds) + 1)):
            return "repeat does not count up from 1 without a gap"
        index, phase = self._column("request_index"), self._column("phase")
        unknown = set(phase.tolist()) - set(PHASES)
        if unknown:
            return f"unknown phases {sorted(unknown)}"
        try:
            planned = planned_requests(self._table)
        except (KeyError, TypeError, ValueError):
            return "the metadata does not say how many requests were planned"
        # A file without rows lacks every planned request. It must not pass for want of a repeat.
        for start, stop in bounds or [(0, 0)]:
            if not np.array_equal(index[start:stop], np.arange(stop - start)):
                return "request_index does not count up from 0 without a gap"
            found = tuple(int((phase[start:stop] == name).sum()) for name in PHASES[:2])
            if found != planned:
                return f"{found[0]} warm-up and {found[1]} measured requests, planned {planned}"
        return None

    def out_of_order(self) -> str | None:
        return out_of_order(self._table, self._chunks)

    def no_success(self) -> str | None:
        return None if self._good.any() else "no measured request succeeded"

    def failures(self) -> str | None:
        measured = self._arrays.rows.measured
        names = self._column("error_class")[measured]
        failed = Counter(name for name in names.tolist() if name is not None)
        if not failed:
            return None
        counts = ", ".join(f"{failed[name]} {name}" for name in sorted(failed))
        return f"{failed.total()} of {len(names)} measured requests failed: {counts}"

    def too_few(self) -> str | None:
        counts = self._per_repeat(self._good)
        fewest = min(counts, default=0)
        if len(counts) >= FEWEST_REPEATS and fewest > 0:
            return None  # the spread between the repeats tells
        if fewest >= FEWEST_OBSERVATIONS:
            return None
        return (
            f"{fewest} measured requests succeeded in a repeat; how sure its numbers are cannot be "
            f"told from fewer than {FEWEST_OBSERVATIONS}, nor from fewer than {FEWEST_REPEATS} "
            "repeats"
        )

    def _per_repeat(self, chosen: Bools) -> list[int]:
        return [int(chosen[start:stop].sum()) for start, stop in self._arrays.bounds]

    def unsteady(self) -> str | None:
        problems = []
        done = 0
        for position, count in enumerate(self._per_repeat(self._good)):
            series = {
                "TTFT": self._ttft[done : done + count],
                "output rate": self._rate(position),
            }
            done += count
            for name, values in series.items():
                found = mser5(values)
                if not found.steady:
                    problems.append(f"{name} of repeat {position + 1}: {found.reason}")
        return "; ".join(problems) or None

    def _rate(self, position: int) -> Int64s:
        """Return the output tokens in each whole second of a window, or the nearest to it."""
        tokens = self._arrays.tokens[position]
        window_ns = int(self._arrays.windows.length[position])
        together = max(1, -(-len(tokens) * _STEADY_WINDOW_NS // max(window_ns, 1)))
        whole = len(tokens) // together
        per_second: Int64s = tokens[: whole * together].reshape(whole, together).sum(axis=1)
        return per_second

    def uncounted(self) -> str | None:
        without = self._good & (self._arrays.rows.output_tokens < 0)
        sources = Counter(self._column("token_source")[without].tolist())
        if not sources:
            return None
        counts = ", ".join(f"{sources[name]} {name}" for name in sorted(sources))
        total = int(self._good.sum())
        return f"{sources.total()} of {total} successful requests have no token count: {counts}"

    def disagreeing(self) -> str | None:
        counted = self._counts("tokenizer_tokens")
        known = self._good & (self._arrays.rows.output_tokens >= 0) & (counted >= 0)
        ours, theirs = counted[known], self._arrays.rows.output_tokens[known]
        allowed = 1 + _COUNT_TOLERANCE * ours
        workload = self._workload()
        if workload is not None and workload.ignore_eos:
            # Past its natural end a model generates end marks, which have no text to count.
            apart = int((ours - theirs > allowed).sum())
        else:
            apart = int((np.abs(theirs - ours) > allowed).sum())
        if not apart:
            return None
        return (
            f"{apart} of {len(ours)} token counts of the engine are off from the tokenizer's: "
            f"{int(theirs.sum())} against {int(ours.sum())} tokens in all"
        )

    def bundled(self) -> str | None:
        tokens = self._arrays.rows.output_tokens
        counted = self._good & (tokens > 0)
        total, chunks = int(tokens[counted].sum()), int(self._chunks.text[counted].sum())
        if not chunks or abs(total / chunks - 1) <= _LENGTH_TOLERANCE:
            return None
        return (
            f"{total} tokens came in {chunks} chunks, so ITL is the gap between chunks, not tokens"
        )

    def length(self) -> str | None:
        workload = self._workload()
        if workload is None:
            return "the metadata does not say how many tokens were asked for"
        tokens = self._arrays.rows.output_tokens
        lengths = tokens[self._good & (tokens >= 0)]
        if not len(lengths):
            return None
        most = workload.max_tokens
        # One answer is enough: the engine did not keep the bound.
        if int(lengths.max()) > most:
            return f"an answer of {lengths.max()} tokens, though max_tokens was {most}"
        drawn = workload.output_tokens
        if not workload.ignore_eos or (drawn is not None and not isinstance(drawn, FixedLength)):
            return None  # no single length was asked for
        asked = most if drawn is None else min(drawn.tokens, most)
        mean = float(lengths.mean())
        if mean < asked * (1 - _LENGTH_TOLERANCE):
            return f"{mean:.1f} tokens on average, though ignore_eos asked for exactly {asked}"
        return None

    def lateness(self) -> str | None:
        rows = self._arrays.rows
        if not len(self._ttft):
            return None
        late = np.sort((rows.sent - rows.scheduled)[self._good])
        # The nearest rank: a lateness that did occur.
        p99 = int(late[(len(late) * 99 - 1) // 100])
        median = int(np.sort(self._ttft)[len(self._ttft) // 2])
        allowed = max(_LATENESS_FLOOR_NS, _LATENESS_SHARE_OF_TTFT * median)
        if p99 <= allowed:
            return None
        return f"p99 of sent - scheduled is {p99 / 1e6:.3f} ms, more than {allowed / 1e6:.3f} ms"

    def cached(self) -> str | None:
        workload = self._workload()
        if workload is not None and workload.salted_by != "request":
            return None  # what a cache may serve was chosen, and is in the spec
        stated = self._counts("cached_tokens")
        known = self._good & (stated >= 0) & (self._arrays.rows.prompt_tokens > 0)
        cached = int(stated[known].sum())
        prompts = int(self._arrays.rows.prompt_tokens[known].sum())
        if cached > _CACHED_SHARE * prompts:
            return (
                f"the engine says that {cached} of {prompts} prompt tokens came from its prefix "
                "cache"
            )
        return self._faster_when_repeated()

    def _faster_when_repeated(self) -> str | None:
        """Compare each prompt's first answer with its later ones."""
        times: dict[str, list[int]] = {}
        prompts: Sequence[str] = self._column("prompt_id")[self._good].tolist()
        for prompt, ttft in zip(prompts, self._ttft.tolist(), strict=True):
            times.setdefault(prompt, []).append(ttft)
        repeated = [of for of in times.values() if len(of) > 1]
        if len(repeated) < _FEWEST_REPEATED:
            return None
        first = float(np.median([of[0] for of in repeated]))
        later = float(np.median([value for of in repeated for value in of[1:]]))
        if later >= _REPEATED_TTFT * first:
            return None
        return (
            f"prompts that were sent again were answered after {later / 1e6:.3f} ms, the first "
            f"time after {first / 1e6:.3f} ms (medians): a cache may have known them"
        )

    def stamps(self) -> str | None:
        chunks = int(self._chunks.all[self._good].sum())
        stamped = int(self._chunks.stamped[self._good].sum())
        if stamped >= _KERNEL_SHARE * chunks:
            return None
        return f"only {stamped} of {chunks} chunks carry the kernel's stamp"
