"""The spec in an envelope: enough to drive the same load again, and nothing private.

An envelope is a stranger's. What is taken from it is decided by the role of each field
(measure/spec/part.py): the load, and nothing that starts a process, reads a file of the reader's
choice, or says where to send something. The engine is always the reader's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, Final

from inferencebench_pipeline.measure.client.arrivals import schedule_sha256
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.engine import EngineSpec
from inferencebench_pipeline.measure.spec.part import Part, Role, fields_of, parts_held
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec, ModelSpec
from inferencebench_pipeline.measure.spec.spec_file import parse_spec
from inferencebench_pipeline.measure.workloads.recipe import recipe_of
from inferencebench_pipeline.untrusted import printable

_MOST_ERROR: Final = 2000
_DIGEST: Final = "sha256"
_ENVELOPE: Final = "of the envelope"


def published_spec(spec: BenchmarkSpec) -> dict[str, Any]:
    """Return the resolved spec as an envelope states it.

    All that decides the load is in it. Addresses are not, and files go by their name and their
    SHA-256.
    """
    return _chosen(spec, set(Role) - {Role.PRIVATE}, lambda _, name: PurePath(name).name)


def replayed_spec(
    driver_options: Mapping[str, Any],
    *,
    engine: EngineSpec,
    model: ModelSpec | None,
    folder: Path,
    processes: int = 1,
) -> BenchmarkSpec:
    """Return the spec that drives the load of an envelope again, on an engine of the reader's.

    Args:
        driver_options: of the envelope.
        engine: the engine to measure.
        model: the model to ask for; by the name that the envelope gives it when null, which only
            an engine that does not load models by their names can be asked for.
        folder: where data files are looked for, by their names.
        processes: of the measuring client, on this machine.

    Raises:
        SpecError: the envelope does not state its spec, or one that this version knows; a model
            must be named; or a data file is not there.
    """
    stated = driver_options.get("spec")
    if not isinstance(stated, dict):
        raise SpecError(
            "the envelope does not state the spec it was measured by; only those of this pipeline "
            "do, in driver_options.spec"
        )
    try:
        # An envelope leaves out the private fields of its engine, without which it is no spec.
        # None of it would be taken in any case, so ours stands in from the beginning.
        strangers = parse_spec({**stated, "engine": engine, "client": {}}, where=_ENVELOPE)
        content = _chosen(strangers, {Role.LOAD}, lambda part, name: _found(part, name, folder))
        content["engine"] = engine
        content["model"] = model or _asked_for(strangers.model, engine)
        content["client"] = {"processes": processes}
        # Once more, so that what was put together obeys every rule that a spec obeys.
        return parse_spec(content, where=_ENVELOPE)
    except SpecError as error:
        # The message quotes values that a stranger wrote.
        raise SpecError(printable(str(error), _MOST_ERROR)) from error


def _chosen(part: Part, roles: set[Role], file_named: Callable[[Part, str], str]) -> dict[str, Any]:
    """Return the fields of ``part`` that have one of ``roles``, and of the parts in it.

    Args:
        part: a spec or a part of one.
        roles: files are always among them.
        file_named: makes of a part and the name of its data file what takes the name's place.
    """
    dumped = part.model_dump(mode="json")
    content: dict[str, Any] = {}
    for name, role, value in fields_of(part):
        if role is Role.DATA_FILE:
            content[name] = None if value is None else file_named(part, value)
        elif role in roles:
            content[name] = dumped[name]
        elif role is None:
            kept = [_chosen(held, roles, file_named) for held in parts_held(value)]
            if isinstance(value, tuple):
                content[name] = kept
            elif value is None or kept[0]:  # a part of which nothing is taken is left out
                content[name] = kept[0] if kept else None
    return content


def _asked_for(strangers: ModelSpec, engine: EngineSpec) -> ModelSpec:
    """Return the model by the envelope's name for it, where a name is all it comes to.

    Revision and quantisation are not taken: they say what was measured there, not what is here.
    """
    if engine.loads_weights:
        raise SpecError(
            f"engine.kind: {engine.kind} fetches and loads the model it is named, and a stranger "
            f"wrote the envelope; name the model yourself, with --model {strangers.id} if you "
            "trust it"
        )
    return ModelSpec(id=strangers.id, served_name=strangers.served_name)


def _found(part: Part, stated: str, folder: Path) -> str:
    """Return the path of a data file that an envelope names: a file of that name in ``folder``."""
    name = PurePath(stated).name
    digests = [value for field, _, value in fields_of(part) if field.endswith(_DIGEST)]
    if not digests or None in digests:
        raise SpecError(
            f"the envelope states no SHA-256 of its data file {name!r}, so nobody can tell which "
            "file it means; it cannot be replayed"
        )
    path = folder / name
    if name in ("", "..") or not os.path.isfile(path):  # noqa: PTH113 - Path's raises for some names
        raise SpecError(
            f"{folder} holds no file {name!r}, which the envelope was measured with; name the "
            "folder that has it with --data"
        )
    return str(path)


def require_same_load(spec: BenchmarkSpec, *, workload_hash: str, schedule_hash: str) -> None:
    """Refuse to replay what would not be the same load.

    Args:
        spec: what is to be measured.
        workload_hash: of the envelope that is replayed.
        schedule_hash: of the same.

    Raises:
        SpecError: this version asks something else, or at other times, for the same spec.
    """
    found = recipe_of(spec.workload, spec.seed).identity_sha256
    if found != workload_hash:
        raise SpecError(
            f"the spec of the envelope comes to the workload {found[:12]} here, and the envelope "
            f"was measured with {workload_hash[:12]}; replay it with the version that measured it"
        )
    found = schedule_sha256(spec.load, spec.seed)
    if found != schedule_hash:
        raise SpecError(
            f"the spec of the envelope comes to the schedule {found[:12]} here, and the envelope "
            f"was measured with {schedule_hash[:12]}; replay it with the version that measured it"
        )
