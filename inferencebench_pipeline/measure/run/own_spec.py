"""The spec that a run was begun with: nothing else is ever measured under its id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.engine import EmbeddedEngine
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.workloads.resolution import resolve
from inferencebench_pipeline.runs import RunDirectory, RunFile
from inferencebench_pipeline.untrusted import printable

_MOST_NAMED = 5


def spec_of_run(run: RunDirectory) -> BenchmarkSpec:
    """Return the spec that a run was asked for, or begun, with.

    Raises:
        MissingRunFileError: there is none; nothing stands in for it.
        SpecError: it cannot be read, or has changed since it was written.
    """
    run.require(RunFile.SPEC)
    return Capture(run).spec()


def own_spec(given: BenchmarkSpec, run: RunDirectory) -> BenchmarkSpec:
    """Return the spec that ``run`` was begun with when ``given`` comes to the same.

    What :func:`resolve` takes from the host is taken from the record: another host may look.

    Raises:
        SpecError: it does not; the message names what differs.
    """
    recorded = spec_of_run(run)
    if given == recorded:
        return recorded
    differing = _differences(_resolved(given, recorded), _resolved(recorded, recorded))
    if differing:
        raise SpecError(
            f"run {run.run_id} was begun with another spec ({recorded.name}): {_named(differing)}. "
            "Finish it with its own (`inferencebench run --run-id "
            f"{run.run_id}` without a spec), or measure {given.name} under a new run id"
        )
    return recorded


def own_spec_among(plan: Sequence[BenchmarkSpec], run: RunDirectory) -> BenchmarkSpec:
    """Return the run's own spec when one of ``plan`` comes to the same.

    Raises:
        SpecError: none does; the message names what differs from the nearest.
    """
    problems: list[SpecError] = []
    for given in plan:
        try:
            return own_spec(given, run)
        except SpecError as error:
            problems.append(error)
    # The message lists what differs, so the shortest is about the nearest spec.
    raise min(problems, key=lambda error: len(str(error)))


def _resolved(spec: BenchmarkSpec, recorded: BenchmarkSpec) -> BenchmarkSpec:
    threads = recorded.engine.threads if isinstance(recorded.engine, EmbeddedEngine) else None
    if isinstance(spec.engine, EmbeddedEngine) and spec.engine.threads is None and threads:
        engine = spec.engine.model_copy(update={"threads": threads})
        spec = spec.model_copy(update={"engine": engine})
    # Which point of a sweep it was is no part of what is measured.
    return resolve(spec.model_copy(update={"place": recorded.place}))


def _differences(given: BenchmarkSpec, recorded: BenchmarkSpec) -> list[str]:
    ours, theirs = (dict(_fields(spec.model_dump(mode="json"))) for spec in (recorded, given))
    return [
        f"{name} is {_value(ours, name)} there and {_value(theirs, name)} here"
        for name in sorted(ours.keys() | theirs.keys())
        # A field may be null in one and absent in the other, which get() alone would not tell.
        if ours.get(name) != theirs.get(name) or (name in ours) != (name in theirs)
    ]


def _fields(content: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(content, dict) and content:
        for name, value in content.items():
            yield from _fields(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, content


def _value(fields: dict[str, object], name: str) -> str:
    return printable(fields[name], 80) if name in fields else "not set"


def _named(differing: list[str]) -> str:
    more = len(differing) - _MOST_NAMED
    return "; ".join(differing[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
