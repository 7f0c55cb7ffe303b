"""README front matter as the Hub reads it: its parsing, its validation, and its tags.

The Hub reads YAML 1.2: ``no`` and ``12:30`` stay strings and dates stay text, unlike PyYAML's
default, so the loader here has the 1.2 core schema.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

try:
    # libyaml's parser is ten times as fast; a list of many repositories reads every card.
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # a PyYAML built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

_FRONT_MATTER = re.compile(r"\A\ufeff?[ \t]*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.S | re.M)
_LICENSE_NAMES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl
ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2
llama3.3 llama4 gemma unknown other
"""
_LICENSES = frozenset(_LICENSE_NAMES.split())
_LIST_OF_STRINGS = ("tags", "task_categories", "task_ids", "size_categories", "datasets")
_PREFIXED_TAGS = ("task_categories", "task_ids", "size_categories", "license", "base_model")


_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Card:
    """A README, split into front matter and body."""

    data: dict[str, Any] | None
    """The front matter as JSON values; None when there is none or it cannot be read."""
    body: str


class _CoreSchemaLoader(_SafeLoader):
    """Safe loading under YAML 1.2's core schema; duplicate keys are refused."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  (PyYAML's own class attribute)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # No set, because YAML lets a key be a list or a mapping.
        seen: list[object] = []
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicated mapping key {key!r}", key_node.start_mark
                )
            seen.append(key)
        return super().construct_mapping(node, deep=deep)


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
    ("merge", r"^(?:<<)$", "<"),
):
    _CoreSchemaLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first)
    )


def _construct_int(loader: _CoreSchemaLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10
    return int(text, base)


_CoreSchemaLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)


@functools.lru_cache(maxsize=32_768)
def parse_card(readme: bytes) -> Card:
    """Return the front matter and the body of a README; never fails."""
    text = readme.decode("utf-8", errors="replace")
    match = _FRONT_MATTER.match(text)
    if match is None:
        return Card(None, text)
    try:
        data = _as_json(yaml.load(match.group(1), Loader=_CoreSchemaLoader))  # noqa: S506
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        data = None
    return Card(data if isinstance(data, dict) else None, text[match.end() :])


def card_errors(readme: str) -> list[str]:
    """Return a sentence for each reason to refuse a README's front matter."""
    match = _FRONT_MATTER.match(readme)
    if match is None:
        return []
    try:
        data = yaml.load(match.group(1), Loader=_CoreSchemaLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        return [f"YAML parse error: {error}"]
    if data is None:
        return []
    if not isinstance(data, dict):
        return ["YAML metadata must be a mapping of keys to values"]
    return list(_key_errors(data))


def card_warnings(readme: str) -> list[str]:
    """Return a sentence for each remark of the Hub that is no refusal."""
    if _FRONT_MATTER.match(readme) is None:
        return ["empty or missing yaml metadata in repo card"]
    return []


def card_tags(data: dict[str, Any] | None) -> list[str]:
    """Return the tags a listing can be filtered by: ``tags`` as they are, other keys prefixed."""
    if data is None:
        return []
    tags = _strings(data.get("tags"))
    for key in _PREFIXED_TAGS:
        tags += [f"{key}:{value}" for value in _strings(data.get(key))]
    tags += [f"language:{value}" for value in _strings(data.get("language"))]
    tags += _strings(data.get("library_name")) + _strings(data.get("pipeline_tag"))
    return list(dict.fromkeys([*tags, "region:us"]))


def _key_errors(data: dict[Any, Any]) -> Iterator[str]:
    for value in _strings(data.get("license")):
        if value not in _LICENSES:
            yield '"license" must be one of [apache-2.0, mit, ...]'
    for key in _LIST_OF_STRINGS:
        items = data.get(key)
        if isinstance(items, list) and not all(isinstance(item, str) for item in items):
            yield f'"{key}" must be an array of strings'
        elif isinstance(items, (dict, bool, int, float)):
            yield f'"{key}" must be an array'


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)]
    return []


def _as_json(value: object) -> object:
    """Return ``value`` with every key a string and no number that JSON lacks."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)
