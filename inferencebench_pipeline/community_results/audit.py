"""The checks before a result is entered into a model's repository; they only read.

They look at the takedowns, the tasks of the benchmark, the model's main branch and open pull
requests, and all pull requests of ours there (open, draft and closed, on all pages). A list that
cannot be read to its end is an error, never taken for an empty one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.eval_yaml import SPEC_FILE, parse_spec
from inferencebench_pipeline.community_results.read import (
    ModelResult,
    UnreadableResult,
    read_results,
)
from inferencebench_pipeline.community_results.register import load_evaluations
from inferencebench_pipeline.community_results.results_file import (
    EvaluationEntry,
    entry_path,
    render_entries,
)
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub import (
    HubNotFoundError,
    HubUnavailableError,
    PullRequest,
    Repo,
    Takedowns,
)

TITLE_PREFIX = "Add evaluation result: "
"""Beginning of the titles of our pull requests; account and task identify one among them."""


class ProposalError(PermanentError):
    """The result cannot be entered as asked; nothing was sent."""


class State(StrEnum):
    """Answer to the question of whether a result can be entered, with the reason against it."""

    READY = "ready"
    PRESENT = "already_present"
    CONFLICT = "score_conflict"
    MISSING = "missing_hf_model"
    WITHHELD = "withheld"
    TAKEN_DOWN = "taken_down"


@dataclass(frozen=True)
class Assessment:
    """The next step for one result, with its reason; nothing was sent."""

    state: State
    reason: str
    mode: Literal["commit", "pull_request"] | None = None
    author: str = ""
    """The account that would do it."""
    pull_request: PullRequest | None = None
    """Our own live one, to be used again."""
    url: str | None = None


@dataclass(frozen=True)
class Submission:
    """One result to be entered into one model's repository."""

    model_id: str
    entry: EvaluationEntry

    @property
    def path(self) -> str:
        """Path of the results file in the model's repository."""
        return entry_path(self.entry)

    @property
    def data(self) -> bytes:
        """Content of the results file."""
        return render_entries([self.entry])

    @property
    def title(self) -> str:
        """Title of the pull request, the same for every configuration of one task."""
        return f"{TITLE_PREFIX}{self.entry.dataset.id} {self.entry.dataset.task_id}"

    @property
    def description(self) -> str:
        """Description of the pull request, for the owner of the model."""
        source = self.entry.source
        return (
            f"This adds one file under `.eval_results/`: a result of this model on "
            f"`{self.entry.dataset.id}` (task `{self.entry.dataset.task_id}`). No other file is "
            f"touched.\n\n"
            + (f"The full record: {source.url}\n\n" if source else "")
            + "If you would rather not have it, close this pull request: it will not be proposed "
            "again. We keep a public register of results whose pull request was closed, with the "
            "date and a link to it.\n"
        )


def examine(
    hub: EvaluationHub, root: Path, submission: Submission, *, takedowns: Takedowns
) -> Assessment:
    """Return whether and how the result can be entered; only reads.

    Args:
        hub: where.
        root: of the store; the register of what was withheld is there.
        submission: the result.
        takedowns: whose models we stay away from.

    Raises:
        ProposalError: the benchmark does not exist or does not have the task.
        HubPermissionError: no token, or one that cannot write.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`: a
            list of pull requests that cannot be read in full is an error, never "none".
    """
    model = Repo("model", submission.model_id)
    takedown = takedowns.covering(submission.model_id)
    if takedown is not None:
        return Assessment(
            State.TAKEN_DOWN,
            f"{takedown.target} asked on {takedown.requested_at:%Y-%m-%d} to be left alone",
        )
    _require_task(hub, submission.entry)
    try:
        shown = read_results(hub, submission.model_id)
    except HubNotFoundError as error:
        # A replica that lags answers the same for a model that is there.
        if hub.find(model) is None:
            said = "there is no such model on the Hub, or it is hidden from us"
            return Assessment(State.MISSING, said)
        raise HubUnavailableError(f"{model.id} is there, but {error}; try again") from error
    account = hub.account()
    account.require_write_token()
    own = model.namespace in account.writable
    mode: Literal["commit", "pull_request"] = "commit" if own else "pull_request"
    ready = Assessment(State.READY, "nothing of the kind is there", mode, account.name)
    pull = None
    # On a model of ours nobody was asked, so there is no answer to remember.
    if not own:
        settled = _settled(hub, root, submission, account.name)
        if isinstance(settled, Assessment):
            return settled
        pull = settled
    ready = replace(ready, pull_request=pull)
    return _against(hub, submission, shown, ready)


def record_url(hub: EvaluationHub, record_id: str) -> str:
    """Return the page of the dataset that holds a record, which is there for anybody to read.

    Raises:
        ProposalError: it is not; a result without its record proves nothing.
    """
    repo = Repo("dataset", record_id)
    try:
        hub.head(repo)
    except HubNotFoundError as error:
        raise ProposalError(
            f"there is no dataset {record_id}, or it is hidden from us; publish the record first"
        ) from error
    return hub.page_url(repo)


def own_pull_requests(
    hub: EvaluationHub, model: Repo, submission: Submission, author: str
) -> list[PullRequest]:
    """Return every pull request of ours for the same benchmark task, whatever became of it."""
    return [
        pull
        for pull in hub.pull_requests(model)
        if pull.author == author and pull.title == submission.title
    ]


def _require_task(hub: EvaluationHub, entry: EvaluationEntry) -> None:
    """Return when the benchmark has the task; a result elsewhere would be shown nowhere."""
    dataset = Repo("dataset", entry.dataset.id)
    try:
        head = hub.head(dataset)
    except HubNotFoundError as error:
        raise ProposalError(
            f"there is no dataset {dataset.id}, or it is hidden from us; name the benchmark as "
            "ORG/NAME"
        ) from error
    if head.commit is None or SPEC_FILE not in head.files:
        raise ProposalError(
            f"{dataset.id} has no {SPEC_FILE}: it is not a benchmark, and results are shown on "
            "benchmarks only"
        )
    name = f"{hub.page_url(dataset)}/blob/{head.commit}/{SPEC_FILE}"
    spec = parse_spec(hub.read(dataset, head, SPEC_FILE), filename=name)
    if spec.task(entry.dataset.task_id) is None:
        tasks = ", ".join(task.id for task in spec.tasks)
        raise ProposalError(
            f"{dataset.id} has no task {entry.dataset.task_id!r}; its tasks are {tasks}"
        )


def _settled(
    hub: EvaluationHub, root: Path, submission: Submission, author: str
) -> Assessment | PullRequest | None:
    """Return our live pull request, ``None`` when there is none, or why there must be none."""
    # The register comes first: it needs no request, and knows merged results that were removed.
    for gone in load_evaluations(root).withheld(submission.model_id):
        if gone.ours and gone.entry.key == submission.entry.key:
            said = f"withheld by the model's author on {gone.withheld[-1].at:%Y-%m-%d}"
            return Assessment(State.WITHHELD, said, url=gone.withheld[-1].url)
    model = Repo("model", submission.model_id)
    ours = own_pull_requests(hub, model, submission, author)
    live = [pull for pull in ours if pull.is_live]
    if live:
        return min(live, key=lambda pull: pull.number)
    closed = [pull for pull in ours if pull.status == "closed"]
    if closed:
        number = max(pull.number for pull in closed)
        said = f"pull request {number} of ours was closed; it is not proposed again"
        return Assessment(State.WITHHELD, said, url=address(hub, model, number))
    return None


def _against(
    hub: EvaluationHub,
    submission: Submission,
    shown: list[ModelResult | UnreadableResult],
    ready: Assessment,
) -> Assessment:
    """Return ``ready``, or what is there already that makes it anything else."""
    entry = submission.entry
    model = Repo("model", submission.model_id)
    own_number = None if ready.pull_request is None else ready.pull_request.number
    for item in shown:
        url = (
            hub.page_url(model)
            if item.pull_request is None
            else address(hub, model, item.pull_request)
        )
        where = "on the main branch" if item.pull_request is None else f"in {url}"
        if isinstance(item, UnreadableResult):
            # A broken file elsewhere is not in our way.
            if item.filename == submission.path:
                said = f"{item.filename} {where} cannot be read: {item.error}"
                return replace(ready, state=State.CONFLICT, reason=said, url=url)
            continue
        if item.entry.key != entry.key:
            continue
        if _same(item.entry, entry):
            return replace(ready, state=State.PRESENT, reason=f"it is {where}", url=url)
        if item.filename == submission.path and _is_ours(item, ready, own_number):
            said = f"the value {item.entry.value} {where} is replaced by {entry.value}"
            ready = replace(ready, reason=said)
        # Another number under another configuration is a variant, and no contradiction.
        elif item.entry.notes == entry.notes:
            said = (
                f"{item.entry.value} stands {where} for the same configuration, and ours is "
                f"{entry.value}; sort it out with whoever reported it"
            )
            return replace(ready, state=State.CONFLICT, reason=said, url=url)
    return ready


def _same(there: EvaluationEntry, ours: EvaluationEntry) -> bool:
    """Return whether the same result is there: the same number and source or configuration."""
    if there.value != ours.value:
        return False
    return there.notes == ours.notes or (
        there.source is not None and ours.source is not None and there.source.url == ours.source.url
    )


def _is_ours(item: ModelResult, ready: Assessment, own_number: int | None) -> bool:
    if item.pull_request is None:
        return ready.mode == "commit"
    return item.pull_request == own_number


def address(hub: EvaluationHub, model: Repo, number: int) -> str:
    """Return the page of a pull request."""
    return f"{hub.page_url(model)}/discussions/{number}"
