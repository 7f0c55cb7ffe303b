"""The register of community results, published: a dataset that anybody can read and check.

It holds the register itself, from which a lost one is restored, and the same as a table with one
line per result. What was published once stays: registers are merged, never replaced by a shorter
one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.register import (
    REGISTER_FILE,
    CommunityResult,
    EvaluationRegister,
    evaluations_held,
    load_evaluations,
    record_results,
)
from inferencebench_pipeline.hub import (
    CARD_FILE,
    HubIntegrityError,
    RemoteRepo,
    Repo,
    RepoHead,
)

REPOSITORY = "community-results"
"""Name of the dataset in our namespace."""
TABLE_FILE = "results.jsonl"
_CARD = """\
---
license: cc-by-4.0
pretty_name: Community evaluation results, and those that were withheld
tags:
- benchmark
- llm
configs:
- config_name: default
  data_files:
  - split: train
    path: results.jsonl
---

# Community evaluation results, and those that were withheld

Results in `.eval_results/` of models on this Hub, as seen in pull requests there. When the pull
request of a result is closed, the Hub shows it no longer; this register does. `state` is

- `open`: in an open pull request;
- `merged`: on the model's main branch;
- `withheld`: closed by the model's author, or taken off the main branch, on `withheld_at` by
  `withheld_by`; `withheld_url` shows it;
- `withdrawn`: closed by whoever proposed it, or ours and taken out because its author asked;
- `gone`: the model or the pull request can no longer be seen.

There are good reasons to close such a pull request, such as a result of another revision or with
the wrong configuration. The register says that it happened, not why. `evaluations.json` holds the
same with every earlier time that a result was withheld.
"""


def publish_register(hub: EvaluationHub, root: Path, organisation: str) -> str:
    """Publish the register in ``ORGANISATION/community-results``; return the commit.

    What is published and not here, as after the loss of a disk, is taken over first. Publishing an
    unchanged register changes nothing.

    Raises:
        HubIntegrityError: the published register cannot be read; it is not overwritten.
        HubPermissionError: the account may not write there.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`.
    """
    repo = Repo("dataset", f"{organisation}/{REPOSITORY}")
    hub.account().require_creating_in(organisation)

    def changes(head: RepoHead) -> dict[str, bytes]:
        local = load_evaluations(root)
        merged = _merged(local, _published(hub, repo, head))
        # Written here before it is sent: a register that is restored survives a crash in between.
        if merged != local:
            record_results(root, merged.results)
        return register_files(merged)

    # What is read, merged and sent must not be overtaken by another process that writes it.
    with evaluations_held(root):
        remote = RemoteRepo(hub, repo)
        edit = remote.commit(
            remote.head_or_created(),
            changes,
            message="Community results, as last seen",
        )
    return edit.commit


def register_files(register: EvaluationRegister) -> dict[str, bytes]:
    """Return what is published of a register."""
    document = register.model_dump_json(indent=2, by_alias=True).encode() + b"\n"
    lines = "".join(
        json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in table_rows(register)
    )
    return {CARD_FILE: _CARD.encode(), REGISTER_FILE: document, TABLE_FILE: lines.encode()}


def table_rows(register: EvaluationRegister) -> Iterator[dict[str, Any]]:
    """Yield one flat row per result, withheld ones first: what a leaderboard shows of them."""
    ordered = sorted(register.results, key=lambda result: (result.state != "withheld", result.key))
    return (_row(result) for result in ordered)


def _row(result: CommunityResult) -> dict[str, Any]:
    last = result.withheld[-1] if result.state == "withheld" else None
    entry = result.entry
    return {
        "model": result.model_id,
        "benchmark": entry.dataset.id,
        "task": entry.dataset.task_id,
        # A column of the table has one type, and entries state whole numbers as well.
        "value": float(entry.value),
        "state": result.state,
        "notes": entry.notes,
        "source_url": None if entry.source is None else entry.source.url,
        "pull_request_url": result.url,
        "proposed_by": result.proposed_by,
        "ours": result.ours,
        "first_seen_at": result.first_seen_at.isoformat(),
        "withheld_at": None if last is None else last.at.isoformat(),
        "withheld_by": None if last is None else last.by,
        "withheld_url": None if last is None else last.url,
    }


def _merged(local: EvaluationRegister, published: EvaluationRegister) -> EvaluationRegister:
    """Return both; of a result that both have, the one that remembers more."""
    known = {result.key: result for result in local.results}
    return local.with_results(
        result
        for result in published.results
        if result.key not in known or len(known[result.key].withheld) < len(result.withheld)
    )


def _published(hub: EvaluationHub, repo: Repo, head: RepoHead) -> EvaluationRegister:
    if head.commit is None or REGISTER_FILE not in head.files:
        return EvaluationRegister()
    try:
        return EvaluationRegister.model_validate_json(hub.fetch(repo, head.commit, REGISTER_FILE))
    except ValidationError as error:
        raise HubIntegrityError(
            f"{REGISTER_FILE} of {repo.id} at {head.commit} is not a register; look at its history"
        ) from error
