"""What stands against a published record, whoever noticed it: crawl, verification or logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from inferencebench_pipeline.corpus.findings import Finding, Severity
from inferencebench_pipeline.corpus.inventory import Inventory
from inferencebench_pipeline.corpus.logs import log_findings
from inferencebench_pipeline.corpus.verdicts import DayVerdicts


def standing_errors(store_root: Path, inventory: Inventory) -> dict[str, Finding]:
    """Return the first finding of severity ``error`` about each repository that has one.

    Raises:
        VerdictsError, LogStateError: what is stored cannot be read.
    """
    found: dict[str, Finding] = {}
    for item in _findings(store_root, inventory):
        if item.severity is Severity.ERROR:
            found.setdefault(item.repo_id, item)
    return found


def _findings(store_root: Path, inventory: Inventory) -> Iterator[Finding]:
    yield from log_findings(store_root)
    yield from inventory.findings
    for day in inventory.days():
        yield from DayVerdicts.load(store_root, day).findings
