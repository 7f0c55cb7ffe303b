"""Findings in the UI: tables of them, and failed checks on the runs that they are about."""

from collections.abc import Collection, Iterable, Mapping

import dagster as dg

from inferencebench_pipeline.corpus import Finding, Severity
from inferencebench_pipeline.hub import read_receipt
from inferencebench_pipeline.lifecycle.life_of_a_run.hub_dataset import hub_serves_what_was_signed
from inferencebench_pipeline.lifecycle.metadata import table
from inferencebench_pipeline.lifecycle.partitions import report_partition
from inferencebench_pipeline.runs import RunStore

_SHOWN = 200


def finding_table(findings: Iterable[Finding]) -> dg.MetadataValue:
    """Return the first 200 findings as a table, with the errors at the top."""
    ordered = sorted(findings, key=lambda item: (item.severity != Severity.ERROR, item.repo_id))
    return table(
        {
            "finding": item.kind,
            "severity": item.severity,
            "repo": item.repo_id,
            "detail": item.detail,
            "seen_at": item.seen_at.isoformat(timespec="seconds"),
        }
        for item in ordered[:_SHOWN]
    )


def check_result(
    findings: Iterable[Finding], community: Collection[str] = frozenset()
) -> dg.AssetCheckResult:
    """Return a check that fails on findings of severity ``error`` and shows every finding.

    What is wrong with a repository of the ``community`` is shown and no failure: a stranger must
    not be able to raise our alarms. Such a record does not rank, that is all.
    """
    found = list(findings)
    errors = [
        item for item in found if item.severity is Severity.ERROR and item.repo_id not in community
    ]
    others = sum(item.repo_id in community for item in found)
    return dg.AssetCheckResult(
        passed=not errors,
        description=_summary(errors, ours=len(found) - others, others=others),
        metadata={"findings": finding_table(found), "errors": len(errors), "of_others": others},
    )


def _summary(errors: list[Finding], *, ours: int, others: int) -> str:
    """Return the findings in words; those about records of others are counted apart."""
    if errors:
        kinds = ", ".join(sorted({item.kind for item in errors}))
        said = f"{_counted(len(errors), 'error')}: {kinds}"
    else:
        said = f"{_counted(ours, 'finding')}, no error" if ours else "no findings"
    return f"{said}; {_counted(others, 'finding')} about records of others" if others else said


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def report_to_runs(
    context: dg.AssetExecutionContext,
    store: RunStore,
    findings: Iterable[Finding],
    cleared: Iterable[str] = (),
) -> list[str]:
    """Report what is wrong with our own runs to their own partitions; return their ids.

    The check ``hub_serves_what_was_signed`` of the run fails, as it would if it were made now. It
    passes again when the repository is ``cleared``. Runs that are fine get no event at all.
    """
    failing: dict[str, list[Finding]] = {}
    for item in findings:
        if item.severity is Severity.ERROR:
            failing.setdefault(item.repo_id, []).append(item)
    concerned = {**{repo_id: [] for repo_id in cleared}, **failing}
    # Almost always the end: to know our own runs, every run directory has to be read.
    if not concerned:
        return []
    reported = []
    for repo_id, run_id in sorted(_own_runs(store).items()):
        if repo_id in concerned:
            report_partition(
                context.instance,
                context.run.run_id,
                hub_serves_what_was_signed.check_key,
                run_id,
                check_result(concerned[repo_id]),
            )
            reported.append(run_id)
    return reported


def _own_runs(store: RunStore) -> Mapping[str, str]:
    """Return the run that each repository of ours was published from, by its receipt."""
    published = {}
    for run_id in store.run_ids():
        run = store.run(run_id)
        if (receipt := read_receipt(run)) is not None:
            published[receipt.repo_id] = run_id
    return published
