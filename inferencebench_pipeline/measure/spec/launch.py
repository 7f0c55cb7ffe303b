"""Guarding a launch by a form: the fields of a spec that a colleague may replace.

A spec file is reviewed by whoever runs the pipeline. A form is open to everybody who may launch, so
it replaces the load and the like, and not what runs on the measuring machine, whom that asks, and
which of its files are read (the roles of measure/spec/part.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.part import Part, Role, fields_of, parts_held
from inferencebench_pipeline.measure.spec.plan import Plan
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec

_GUARDED: Final = frozenset({Role.RUNS_CODE, Role.PRIVATE, Role.DATA_FILE})
_Guarded = tuple[str, tuple[tuple[str, str], ...]]


def require_same_code(written: Plan, asked: Plan) -> None:
    """Refuse a launch that replaces what runs here, rather than what is asked of it.

    Args:
        written: what the spec file comes to as it is.
        asked: what it comes to with the fields that the launch replaces.

    Raises:
        SpecError: a run of ``asked`` has an engine, a model that it loads, or a data file that no
            run of ``written`` has.
    """
    known = {part for spec in written.runs for part in _guarded(spec)}
    for spec in asked.runs:
        for name, fields in _guarded(spec):
            if (name, fields) in known:
                continue
            # The message names what differs from the part of the file that is nearest.
            beside = [set(others) for place, others in known if place == name] or [set()]
            replaced = min((set(fields) - others for others in beside), key=len)
            raise SpecError(
                f"a launch may not replace {', '.join(sorted(field for field, _ in replaced))}: "
                "that decides what runs on the measuring machine, whom it asks or what it reads; "
                "write it into a spec file of the specs folder, or run it on a machine of your own "
                "with `inferencebench run --set`"
            )


def _guarded(spec: BenchmarkSpec) -> Iterator[_Guarded]:
    """Yield each part of ``spec`` that has fields which a launch may not replace, with those.

    An engine that loads weights is one with its model: the pair decides what runs.
    """
    for name, part in _parts(spec, ""):
        fields = tuple(_fields(name, part, _GUARDED))
        if part is spec.engine and spec.engine.loads_weights:
            for place, piece in _parts(spec.model, "model"):
                fields += tuple(_fields(place, piece, {Role.WEIGHTS}))
        if fields:
            yield name, fields


def _parts(part: Part, name: str) -> Iterator[tuple[str, Part]]:
    yield name, part
    for field, role, value in fields_of(part):
        for held in parts_held(value) if role is None else ():
            yield from _parts(held, f"{name}.{field}" if name else field)


def _fields(name: str, part: Part, roles: Set[Role]) -> Iterator[tuple[str, str]]:
    """Yield the fields of ``part`` that have one of ``roles``, by their full names."""
    for field, role, value in fields_of(part):
        if role in roles:
            # As text: values may be lists and mappings, which no set can hold.
            yield f"{name}.{field}" if name else field, repr(value)
