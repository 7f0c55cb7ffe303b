"""The evaluation calls of the Hub, made directly since the client library drops the trust tier."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, Field, ValidationError

from inferencebench_pipeline.documents import LenientPart
from inferencebench_pipeline.hub import Hub, HubIntegrityError, Repo, Wire, json_objects, reading


@dataclass(frozen=True)
class PullRequestFate:
    """The status of a pull request, and the account that set it."""

    status: str
    """``draft``, ``open``, ``closed`` or ``merged``."""
    author: str
    decided_by: str | None
    """Account that set the status last; ``None`` while nobody has."""
    decided_at: datetime | None


class _Named(LenientPart):
    name: str


class _Event(LenientPart):
    type: str
    createdAt: AwareDatetime  # noqa: N815 - the API's spelling
    author: _Named | None = None


class _Discussion(LenientPart):
    status: str
    author: _Named
    events: tuple[_Event, ...] = Field(default=())


class EvaluationHub(Hub):
    """A Hub with the calls that concern evaluation results."""

    def evaluation_results(self, model_id: str) -> list[dict[str, Any]]:
        """Return the results of a model as the API has them, open pull requests included.

        Raises:
            HubNotFoundError: no such model, as far as the token may see.
        """

        def ask(wire: Wire) -> list[dict[str, Any]]:
            url = wire.url(f"{Repo('model', model_id).api_path}?expand=evalResults")
            return json_objects(wire.get_object(url).get("evalResults", []), url)

        return self._call(f"read the evaluation results of {model_id}", ask)

    def leaderboard(self, dataset_id: str, *, derived_models: bool = False) -> list[dict[str, Any]]:
        """Return a benchmark's leaderboard as the API has it.

        Args:
            dataset_id: the benchmark.
            derived_models: also rank models that declare a base model.

        Raises:
            HubNotFoundError: no such dataset, or it is not a benchmark.
        """

        def ask(wire: Wire) -> list[dict[str, Any]]:
            query = "?base_model=false" if derived_models else ""
            return wire.get_objects(
                wire.url(f"{Repo('dataset', dataset_id).api_path}/leaderboard{query}")
            )

        return self._call(f"read the leaderboard of {dataset_id}", ask)

    def tags(self, dataset_id: str) -> frozenset[str]:
        """Return the tags of a dataset, those that the Hub gives included.

        Raises:
            HubNotFoundError: no such dataset, as far as the token may see.
        """

        def ask(wire: Wire) -> frozenset[str]:
            url = wire.url(f"{Repo('dataset', dataset_id).api_path}?expand=tags")
            answer = wire.get_object(url)
            with reading(f"the answer about {dataset_id}"):
                return frozenset(str(tag) for tag in answer.get("tags", []))

        return self._call(f"read the tags of {dataset_id}", ask)

    def fate(self, repo: Repo, number: int) -> PullRequestFate:
        """Return what became of a pull request.

        Raises:
            HubNotFoundError: the repository or the pull request is gone.
            HubIntegrityError: the answer is not that of a Hub.
        """

        def ask(wire: Wire) -> PullRequestFate:
            url = wire.url(f"{repo.api_path}/discussions/{number}")
            answer = wire.get_object(url)
            try:
                found = _Discussion.model_validate(answer)
            except ValidationError as error:
                raise HubIntegrityError(
                    f"{url} does not describe a pull request; is this endpoint a Hub?"
                ) from error
            decisions = [event for event in found.events if event.type == "status-change"]
            # A pull request may have been closed and opened again, and the last word holds.
            last = max(decisions, key=lambda event: event.createdAt, default=None)
            return PullRequestFate(
                status=found.status,
                author=found.author.name,
                decided_by=None if last is None or last.author is None else last.author.name,
                decided_at=None if last is None else last.createdAt,
            )

        return self._call(f"read pull request {number} of {repo.id}", ask)
