"""A repository as the Hub's JSON describes it, in lists and on its own."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

from inferencebench_pipeline.sandbox.hub.cards import Card, card_tags, parse_card
from inferencebench_pipeline.sandbox.hub.errors import HubError
from inferencebench_pipeline.sandbox.hub.evaluations import (
    BENCHMARK_TAG,
    VerifyTokens,
    is_benchmark,
    results_of,
)
from inferencebench_pipeline.sandbox.hub.names import RepoKind
from inferencebench_pipeline.sandbox.hub.objects import Commit, lfs_pointer
from inferencebench_pipeline.sandbox.hub.repository import Repository

_ALWAYS_EMPTY: dict[str, object] = {
    "downloads": 0,
    "downloadsAllTime": 0,
    "likes": 0,
    "gated": False,
    "disabled": False,
    "trendingScore": 0,
    "resourceGroup": None,
    "citation": None,
    "description": None,
    "paperswithcode_id": None,
    "mainSize": None,
}
_DERIVED_NAMES = """
author cardData createdAt lastModified private sha siblings tags usedStorage pipeline_tag
library_name model-index sdk config
"""
_DERIVED = frozenset(_DERIVED_NAMES.split())
_NOT_IN_LISTS = frozenset({"cardData", "sha", "siblings", "usedStorage", "model-index"})
LIST_PROPERTIES = (_DERIVED - _NOT_IN_LISTS) | {"downloads", "likes", "gated", "disabled"}
"""The properties of a repository in a list by default, without its card and its commit."""
FULL_LIST_PROPERTIES = LIST_PROPERTIES | {"cardData", "sha", "siblings"}
"""The properties that ``full=true`` adds."""
EVALUATION_RESULTS = "evalResults"
"""A property of models that is read from their pull requests too; only ``expand`` asks for it."""
_INFO_PROPERTIES = frozenset(_DERIVED | _ALWAYS_EMPTY.keys()) - {"usedStorage"}


def requested_properties(expand: Sequence[str]) -> frozenset[str] | None:
    """Return the properties that ``expand`` parameters ask for; None when there are none.

    Raises:
        HubError: 400 for a property the Hub does not have.
    """
    if not expand:
        return None
    unknown = set(expand) - _DERIVED - _ALWAYS_EMPTY.keys() - {EVALUATION_RESULTS}
    if unknown:
        raise HubError(400, f"Invalid expand: {', '.join(sorted(unknown))}")
    return frozenset(expand)


def card_of(repository: Repository, commit: Commit) -> Card:
    """Return the README of a commit, split; an empty card when it has none."""
    entry = commit.tree.get("README.md")
    if entry is None or entry.lfs_sha256 is not None:
        return Card(None, "")
    return parse_card(repository.objects.blob_path(entry.oid).read_bytes())


def tags_of(repository: Repository) -> list[str]:
    """Return the tags that the repository's card gives it, and those the Hub does."""
    return _with_hub_tags(repository, list(_head_tags(repository, repository.head.oid)))


@functools.lru_cache(maxsize=65_536)
def _head_tags(repository: Repository, oid: str) -> tuple[str, ...]:
    # Every page of a list asks this of every repository.
    return tuple(card_tags(card_of(repository, repository.objects.commit(oid)).data))


def _with_hub_tags(repository: Repository, tags: list[str]) -> list[str]:
    return [*tags, BENCHMARK_TAG] if is_benchmark(repository) else tags


def describe(
    repository: Repository,
    commit: Commit,
    tokens: VerifyTokens,
    properties: frozenset[str] = _INFO_PROPERTIES,
) -> dict[str, Any]:
    """Return the JSON of a repository at ``commit`` with these properties."""
    name = repository.id.full_name
    described: dict[str, Any] = {
        # The ids of the Hub have 24 hex digits.
        "_id": hashlib.sha256(repository.id.web_path.encode()).hexdigest()[:24],
        "id": name,
    }
    if repository.id.kind is RepoKind.MODEL:
        described["modelId"] = name
        if EVALUATION_RESULTS in properties:
            described[EVALUATION_RESULTS] = results_of(repository, tokens)
    described |= {key: value for key, value in _ALWAYS_EMPTY.items() if key in properties}
    return described | _derived(repository, commit, properties)


def files_of(commit: Commit, *, sizes: bool) -> list[dict[str, Any]]:
    """Return the files of a commit as ``siblings``: names alone, or with sizes and hashes."""
    if not sizes:
        return [{"rfilename": path} for path in commit.tree]
    siblings = []
    for path, entry in commit.tree.items():
        item: dict[str, Any] = {
            "rfilename": path,
            "size": entry.size_bytes,
            "blobId": entry.oid,
        }
        if entry.lfs_sha256 is not None:
            item["lfs"] = {
                "sha256": entry.lfs_sha256,
                "size": entry.size_bytes,
                "pointerSize": len(lfs_pointer(entry.lfs_sha256, entry.size_bytes)),
            }
        siblings.append(item)
    return siblings


def _derived(repository: Repository, commit: Commit, properties: frozenset[str]) -> dict[str, Any]:
    card = card_of(repository, commit)
    data = card.data or {}
    everything: dict[str, Any] = {
        "author": repository.id.owner,
        "cardData": card.data,
        "createdAt": repository.settings.created_at,
        "lastModified": commit.created_at,
        "private": repository.settings.private,
        "sha": commit.oid,
        "tags": _with_hub_tags(repository, card_tags(card.data)),
    }
    if repository.id.kind is RepoKind.MODEL:
        everything |= {key: data.get(key) for key in ("pipeline_tag", "library_name")}
        everything |= {"model-index": data.get("model-index"), "config": {}}
    if repository.id.kind is RepoKind.SPACE:
        everything["sdk"] = repository.settings.sdk
    if "siblings" in properties:
        everything["siblings"] = files_of(commit, sizes=False)
    if "usedStorage" in properties:
        everything["usedStorage"] = sum(entry.size_bytes for entry in commit.tree.values())
    return {
        key: value
        for key, value in everything.items()
        if key in properties and (value is not None or key == "cardData")
    }
