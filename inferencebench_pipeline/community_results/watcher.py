"""A watch over community results: it records those shown, and remembers those that disappear.

The Hub shows the results of open pull requests and says nothing of those that were closed. So
whoever wants to know what was withheld has to have looked before: :func:`watch` notes what it sees
and asks, for every noted result that it no longer sees, what became of its pull request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from inferencebench_pipeline.community_results.client import EvaluationHub, PullRequestFate
from inferencebench_pipeline.community_results.read import (
    ModelResult,
    read_leaderboard,
    read_results,
)
from inferencebench_pipeline.community_results.register import (
    CommunityResult,
    EvaluationRegister,
    Withholding,
    evaluations_held,
    load_evaluations,
    record_results,
)
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub import HubNotFoundError, Repo, Takedowns, load_takedowns
from inferencebench_pipeline.untrusted import printable


@dataclass(frozen=True)
class Watched:
    """The outcome of one look at the Hub."""

    register: EvaluationRegister
    new: tuple[CommunityResult, ...]
    withheld: tuple[CommunityResult, ...]
    """The results that were there at the last look and were withheld since."""
    failed: tuple[str, ...] = ()
    """One sentence for each thing that could not be read; what is known of it stays as it was."""


def watch(
    hub: EvaluationHub,
    root: Path,
    *,
    benchmarks: Iterable[str] = (),
    models: Iterable[str] = (),
) -> Watched:
    """Bring the register up to date with the Hub.

    Costs one request per benchmark, one per model with results in open pull requests there or
    named here or in the register, and one per pull request that is new or no longer seen.

    A model, pull request or benchmark whose answer cannot be read fails alone.

    Args:
        hub: where.
        root: of the store; the register is there.
        benchmarks: datasets whose leaderboards name further models.
        models: looked at besides.

    Raises:
        HubUnavailableError: and the other outages of :mod:`inferencebench_pipeline.hub`; the
            register is as it was: an outage is never taken for a result withheld.
        PermanentError: nothing that was asked could be looked at; this is the first reason.
    """
    with evaluations_held(root):
        before = load_evaluations(root)
        now = datetime.now(UTC).replace(microsecond=0)
        look = _Look(hub, before, load_takedowns(root), now)
        look.at_models(
            {*models, *look.on_leaderboards(benchmarks)}
            | {result.model_id for result in before.results}
        )
        look.require_an_answer()
        after = tuple(look.results())
        register = record_results(root, after)
    known = {result.key: result for result in before.results}
    return Watched(
        failed=tuple(look.failed),
        register=register,
        new=tuple(result for result in after if result.key not in known),
        withheld=tuple(
            result
            for result in after
            if result.state == "withheld"
            and (result.key not in known or known[result.key].state != "withheld")
        ),
    )


class _Look:
    """One look: what the models show, and the fate of the pull requests they no longer show."""

    def __init__(
        self,
        hub: EvaluationHub,
        before: EvaluationRegister,
        takedowns: Takedowns,
        now: datetime,
    ) -> None:
        self._hub = hub
        self._before = before
        self._takedowns = takedowns
        self._now = now
        self.failed: list[str] = []
        self._failures: list[PermanentError] = []
        self._answers = 0
        self._shown: dict[str, list[ModelResult]] = {}
        self._fates: dict[tuple[str, int], PullRequestFate | None] = {}

    def on_leaderboards(self, benchmarks: Iterable[str]) -> list[str]:
        """Return the models with results in open pull requests on benchmarks' leaderboards."""
        found: list[str] = []
        for dataset_id in benchmarks:
            try:
                rows = read_leaderboard(self._hub, dataset_id, derived_models=True)
            except PermanentError as error:
                self._note(dataset_id, error)
                continue
            self._answers += 1
            found.extend(row.model_id for row in rows if row.pull_request is not None)
        return found

    def at_models(self, models: Iterable[str]) -> None:
        """Read what each model shows; one that is gone shows nothing."""
        for model_id in sorted(models):
            try:
                found = read_results(self._hub, model_id)
            except HubNotFoundError:
                found = []
            except PermanentError as error:
                self._note(model_id, error)
                continue
            self._answers += 1
            self._shown[model_id] = [item for item in found if isinstance(item, ModelResult)]

    def require_an_answer(self) -> None:
        """Raise the first failure when there was nothing else."""
        if self._failures and not self._answers:
            raise self._failures[0]

    def _note(self, what: str, error: PermanentError) -> None:
        self._failures.append(error)
        self.failed.append(f"{printable(what)}: {printable(error)}")

    def results(self) -> Iterator[CommunityResult]:
        """Yield every known result as it is now, and every new one."""
        known = {result.key: result for result in self._before.results}
        seen = {result.key: result for result in self._seen()}
        for key, result in seen.items():
            yield self._again(known[key], result) if key in known else result
        for key, result in known.items():
            if key in seen:
                continue
            try:
                # A model that could not be read says nothing about its results.
                yield self._judged(result) if result.model_id in self._shown else result
            except PermanentError as error:
                self._note(f"{result.model_id}, pull request {result.pull_request}", error)
                yield result

    def _seen(self) -> Iterator[CommunityResult]:
        for model_id, found in self._shown.items():
            for item in found:
                if item.pull_request is not None:
                    yield self._noted(model_id, item, item.pull_request)

    def _noted(self, model_id: str, item: ModelResult, number: int) -> CommunityResult:
        known = [
            result.proposed_by
            for result in self._before.results
            if (result.model_id, result.pull_request) == (model_id, number)
        ]
        author = known[0] if known else self._author(model_id, number)
        return CommunityResult(
            model_id=model_id,
            pull_request=number,
            url=f"{self._hub.page_url(Repo('model', model_id))}/discussions/{number}",
            filename=item.filename,
            entry=item.entry,
            proposed_by=author,
            # Ours are in the register before the Hub shows them, and a known result keeps its mark.
            ours=False,
            first_seen_at=self._now,
        )

    def _author(self, model_id: str, number: int) -> str | None:
        try:
            fate = self._fate(model_id, number)
        except PermanentError as error:
            self._note(f"{model_id}, pull request {number}", error)
            return None
        return None if fate is None else fate.author

    def _again(self, known: CommunityResult, seen: CommunityResult) -> CommunityResult:
        """Return a known result that is open, which ends a withholding."""
        ended = _ended(known.withheld, self._now)
        return _changed(known, entry=seen.entry, state="open", withheld=ended)

    def _judged(self, result: CommunityResult) -> CommunityResult:
        """Return a known result that no open pull request shows."""
        if self._on_main(result):
            return _changed(result, state="merged", withheld=_ended(result.withheld, self._now))
        if result.state == "withheld":
            return result
        fate = self._fate(result.model_id, result.pull_request)
        if fate is None:
            return _changed(result, state="gone")
        if fate.status == "merged" and result.ours and self._takedowns.covering(result.model_id):
            # Its author asked us to take it down, which a merge of ours or theirs has done.
            return _changed(result, state="withdrawn")
        if fate.status == "merged":
            # Merged, and not on the main branch: somebody who may write there took it away.
            page = self._hub.page_url(Repo("model", result.model_id))
            return self._withheld(result, self._now, None, f"{page}/commits/main")
        if fate.status in {"open", "draft"}:
            # Not shown, though open: a draft, or its file was changed or taken out again.
            return _changed(result, state="open" if fate.status == "draft" else "withdrawn")
        if fate.decided_by is not None and fate.decided_by == fate.author:
            return _changed(result, state="withdrawn", proposed_by=fate.author)
        return self._withheld(result, fate.decided_at or self._now, fate.decided_by, result.url)

    def _withheld(
        self, result: CommunityResult, at: datetime, by: str | None, url: str
    ) -> CommunityResult:
        entry = Withholding(at=at, by=by, url=url)
        return _changed(result, state="withheld", withheld=(*result.withheld, entry))

    def _on_main(self, result: CommunityResult) -> bool:
        return any(
            item.pull_request is None
            and (item.filename, item.entry.key) == (result.filename, result.entry.key)
            and (item.entry.value, item.entry.notes) == (result.entry.value, result.entry.notes)
            for item in self._shown[result.model_id]
        )

    def _fate(self, model_id: str, number: int) -> PullRequestFate | None:
        place = (model_id, number)
        if place not in self._fates:
            try:
                self._fates[place] = self._hub.fate(Repo("model", model_id), number)
            except HubNotFoundError:
                self._fates[place] = None
        return self._fates[place]


def _ended(withheld: tuple[Withholding, ...], now: datetime) -> tuple[Withholding, ...]:
    return tuple(
        item if item.ended_at is not None else item.model_copy(update={"ended_at": now})
        for item in withheld
    )


def _changed(result: CommunityResult, **changes: object) -> CommunityResult:
    return result.model_copy(update=changes)
