"""Random mutations of a genuine record, each naming what it hit."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.trust.records import Signed, encode

Path = tuple[str | int, ...]
_KINDS = ("envelope bytes", "envelope field", "bundle bytes", "bundle field", "traces")


@dataclass(frozen=True)
class Mutation:
    """A changed record and what was done to it."""

    hit: str
    data: bytes
    traces: bytes


def mutation(signed: Signed, dice: random.Random) -> Mutation:
    """One mutation of the envelope, of the bundle inside it, or of the traces."""
    kind = dice.choice(
        ["envelope bytes", "envelope field", "bundle bytes", "bundle field", "traces"]
    )
    if kind == "envelope bytes":
        how, data = noisy(signed.data, dice)
        return Mutation(f"{kind}: {how}", data, signed.traces)
    if kind == "traces":
        how, traces = noisy(signed.traces, dice)
        return Mutation(f"{kind}: {how}", signed.data, traces)
    document = signed.document
    if kind == "envelope field":
        how = restructure(document, dice)
        return Mutation(f"{kind}: {how}", encode(document), signed.traces)
    raw = base64.b64decode(document["signature"]["bundle"])
    if kind == "bundle bytes":
        how, changed = noisy(raw, dice)
    else:
        bundle = json.loads(raw)
        how = restructure(bundle, dice)
        changed = encode(bundle)
    document["signature"]["bundle"] = base64.b64encode(changed).decode()
    return Mutation(f"{kind}: {how}", encode(document), signed.traces)


def noisy(data: bytes, dice: random.Random) -> tuple[str, bytes]:
    """Change bytes without regard to what they mean."""
    at = dice.randrange(len(data))
    how = dice.choice(["bit flipped", "byte removed", "byte inserted", "cut off", "stretch moved"])
    if how == "bit flipped":
        changed = bytearray(data)
        changed[at] ^= 1 << dice.randrange(8)
        return how, bytes(changed)
    if how == "byte removed":
        return how, data[:at] + data[at + 1 :]
    if how == "byte inserted":
        return how, data[:at] + bytes([dice.randrange(256)]) + data[at:]
    if how == "cut off":
        return how, data[:at]
    length = dice.randrange(1, 64)
    to = dice.randrange(len(data))
    return how, data[:to] + data[at : at + length] + data[to + length :]


def restructure(document: Any, dice: random.Random) -> str:
    """Change, remove or double one value, knowing the structure; return which."""
    path = dice.choice(list(_paths(document)))
    parent = document
    for part in path[:-1]:
        parent = parent[part]
    where = "/".join("*" if isinstance(part, int) else part for part in path)
    how = dice.choice([_changed, _changed, _changed, _removed, _doubled, _foreign])
    how(parent, path[-1], dice)
    return f"{where} {how.__name__.strip('_')}"


def _changed(parent: Any, key: Any, dice: random.Random) -> None:
    parent[key] = _other(parent[key], dice)


def _removed(parent: Any, key: Any, _dice: random.Random) -> None:
    del parent[key]


def _doubled(parent: Any, key: Any, _dice: random.Random) -> None:
    if isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[f"{key}2"] = copy.deepcopy(parent[key])


def _foreign(parent: Any, key: Any, dice: random.Random) -> None:
    parent[key] = dice.choice([None, True, 0, -1, 2**63, 1e308, "", "x", [], {}, [[]], {"": None}])


def _other(value: Any, dice: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + dice.choice([1, -1, 0.5, 1e-9 * (abs(value) or 1)])
    if isinstance(value, str):
        return _other_text(value, dice)
    if isinstance(value, list):
        return value[::-1] if len(value) > 1 else [*value, 1]
    return {**value, "added": 1} if isinstance(value, dict) else 1


def _other_text(value: str, dice: random.Random) -> str:
    if value.isdigit():
        return str(int(value) + dice.choice([1, -1, 256]))
    try:
        raw = bytearray(base64.b64decode(value, validate=True))
    except ValueError:
        raw = bytearray()
    if len(raw) > 8:
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        return base64.b64encode(raw).decode()
    at = dice.randrange(len(value) + 1)
    return value[:at] + dice.choice("aA0 /\n") + value[at + 1 :]


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield from _paths(item, (*path, key))
