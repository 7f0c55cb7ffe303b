"""Registration of a dataset of ours as a benchmark, by an ``eval.yaml`` that is validated first."""

from __future__ import annotations

from dataclasses import dataclass

from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.eval_yaml import (
    BENCHMARK_TAG,
    SPEC_FILE,
    BenchmarkDefinition,
    parse_spec,
)
from inferencebench_pipeline.hub import RemoteRepo, Repo


@dataclass(frozen=True)
class Registration:
    """A dataset that says how it is evaluated."""

    spec: BenchmarkDefinition
    commit: str
    url: str
    """The page of ``eval.yaml`` at the commit."""
    listed: bool
    """True if the Hub ranks results on it; its staff keeps an allow-list while this is beta."""


def register_benchmark(
    hub: EvaluationHub, dataset_id: str, data: bytes, *, filename: str
) -> Registration:
    """Commit an ``eval.yaml`` to a dataset of ours; the same file again changes nothing.

    Args:
        hub: where.
        dataset_id: an existing dataset that the account may write to.
        data: the file's exact bytes; they are what is committed.
        filename: named in errors.

    Raises:
        EvaluationFileError: the file breaks the specification; nothing was sent.
        HubPermissionError: the account may not write there.
        HubNotFoundError: there is no such dataset.
        HubRejectedError: the Hub refuses the file, such as for a framework it does not know.
    """
    spec = parse_spec(data, filename=filename)
    repo = Repo("dataset", dataset_id)
    hub.account().require_creating_in(repo.namespace)
    edit = RemoteRepo(hub, repo).edit_file(
        SPEC_FILE, lambda _: data, message=f"Register the benchmark {spec.name}"
    )
    url = f"{hub.page_url(repo)}/blob/{edit.commit}/{SPEC_FILE}"
    return Registration(spec, edit.commit, url, BENCHMARK_TAG in hub.tags(dataset_id))
