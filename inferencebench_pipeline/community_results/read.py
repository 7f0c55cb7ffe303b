"""Community results as the Hub shows them, each with its trust tier and pull request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationError

from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.results_file import EvaluationEntry
from inferencebench_pipeline.documents import LenientPart
from inferencebench_pipeline.hub import HubIntegrityError
from inferencebench_pipeline.untrusted import printable, problems_of

_MOST_CHARACTERS = 2000
"""Bound on a note or an address, as in a results file."""


class Tier(StrEnum):
    """The trust tier of a shown result, the best first."""

    VERIFIED = "verified"
    """The Hub ran the evaluation itself and says so."""
    MERGED = "merged"
    """On the model's main branch: its author vouches for it."""
    COMMUNITY = "community"
    """The result is in an open pull request, and its opener vouches for it."""


@dataclass(frozen=True)
class ModelResult:
    """One result of a model."""

    model_id: str
    filename: str
    tier: Tier
    entry: EvaluationEntry
    pull_request: int | None = None
    """The open pull request it stands in; ``None`` for the main branch."""


@dataclass(frozen=True)
class UnreadableResult:
    """A results file or an entry that breaks the specification."""

    model_id: str
    filename: str
    error: str
    pull_request: int | None = None


@dataclass(frozen=True)
class LeaderboardRow:
    """One row of a benchmark's leaderboard."""

    rank: int
    model_id: str
    value: float
    filename: str
    tier: Tier
    pull_request: int | None = None
    source_url: str | None = None
    notes: str | None = None


class _Item(LenientPart):
    filename: str
    verified: bool = False
    pullRequest: int | None = None  # noqa: N815 - the API's spelling
    error: str | None = None
    data: dict[str, Any] | None = None


class _Row(LenientPart):
    rank: int = Field(ge=0, lt=2**63)
    modelId: str = Field(min_length=1, max_length=200)  # noqa: N815
    value: float = Field(allow_inf_nan=False)
    filename: str
    verified: bool
    pullRequest: int | None = None  # noqa: N815
    source: dict[str, Any] | None = None
    notes: str | None = None


def read_results(hub: EvaluationHub, model_id: str) -> list[ModelResult | UnreadableResult]:
    """Return every result of a model, those of open pull requests included.

    Nothing is left out: what breaks the specification is an item that says so.

    Raises:
        HubNotFoundError: no such model.
        HubIntegrityError: the answer is not that of a Hub.
    """
    return [_result(model_id, item) for item in hub.evaluation_results(model_id)]


def read_leaderboard(
    hub: EvaluationHub, dataset_id: str, *, derived_models: bool = False
) -> list[LeaderboardRow]:
    """Return a benchmark's leaderboard, by rank.

    Args:
        hub: where.
        dataset_id: the benchmark.
        derived_models: also rank models that declare a base model.

    A row that cannot be read, which one file of a stranger may bring about, is left out.

    Raises:
        HubNotFoundError: it is no benchmark.
        HubIntegrityError: the answer is not that of a Hub: no row of it can be read.
    """
    rows: list[LeaderboardRow] = []
    items = hub.leaderboard(dataset_id, derived_models=derived_models)
    for item in items:
        try:
            row = _Row.model_validate(item)
        except ValidationError as error:
            if len(items) == 1:
                raise _not_a_hub(f"the leaderboard of {dataset_id}", error) from error
            continue
        url = (row.source or {}).get("url")
        rows.append(
            LeaderboardRow(
                rank=row.rank,
                model_id=row.modelId,
                value=row.value,
                filename=row.filename,
                tier=_tier(row.verified, row.pullRequest),
                pull_request=row.pullRequest,
                source_url=None if url is None else printable(url, _MOST_CHARACTERS),
                notes=None if row.notes is None else printable(row.notes, _MOST_CHARACTERS),
            )
        )
    return sorted(rows, key=lambda row: row.rank)


def _result(model_id: str, item: Mapping[str, Any]) -> ModelResult | UnreadableResult:
    try:
        found = _Item.model_validate(item)
    except ValidationError as error:
        raise _not_a_hub(f"the evaluation results of {model_id}", error) from error
    # The Hub itself could not read the file.
    if found.error is not None:
        return UnreadableResult(model_id, found.filename, printable(found.error), found.pullRequest)
    try:
        # By the file's own spelling alone: our Python names are no keys of the specification.
        entry = EvaluationEntry.model_validate(found.data, by_alias=True, by_name=False)
    except ValidationError as error:
        problems = problems_of(error, whole="the entry")
        return UnreadableResult(model_id, found.filename, problems, found.pullRequest)
    tier = _tier(found.verified, found.pullRequest)
    return ModelResult(model_id, found.filename, tier, entry, found.pullRequest)


def _tier(verified: bool, pull_request: int | None) -> Tier:
    if verified:
        return Tier.VERIFIED
    return Tier.MERGED if pull_request is None else Tier.COMMUNITY


def _not_a_hub(what: str, error: ValidationError) -> HubIntegrityError:
    problems = problems_of(error, whole="an item")
    return HubIntegrityError(f"{what} are unusable ({problems}); is this endpoint a Hub?")
