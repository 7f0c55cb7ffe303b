"""The inputs of a build: the corpus's inventory and findings, by the day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from inferencebench_pipeline.corpus import (
    Finding,
    inventory_table,
    load_findings,
    log_findings,
    repeated_runs,
)
from inferencebench_pipeline.files import file_state
from inferencebench_pipeline.leaderboard.index.parquet.manifest import DayInputs, digest
from inferencebench_pipeline.leaderboard.index.parquet.tables import (
    FINDINGS_SCHEMA,
    INVENTORY_SCHEMA,
    PRECEDENCE,
    empty,
)
from inferencebench_pipeline.leaderboard.store import LeaderboardStore


@dataclass(frozen=True)
class CorpusInputs:
    """The corpus as the index sees it, each day's part of it recognisable by a digest."""

    entries: pa.Table
    """The inventory's columns that matter, ordered by day and repository."""
    rows: dict[str, tuple[int, int]]
    """The first of each day's rows in ``entries``, and their number."""
    noted: dict[str, list[dict[str, Any]]]
    """Findings of logs, crawl and precedence by the day of their repository."""
    unplaced: tuple[Finding, ...]
    """Findings about repositories that are not in the inventory."""
    inputs: dict[str, DayInputs]

    def of_days(self, days: Iterable[str]) -> pa.Table:
        """Return the entries of ``days``, copied: a slice takes the whole table where it goes."""
        return pa.concat_tables(
            [empty(self.entries.schema), *(self.entries.slice(*self.rows[day]) for day in days)]
        ).combine_chunks()

    def noted_of(self, days: Iterable[str]) -> pa.Table:
        """Return the findings of logs, crawl and precedence about repositories of ``days``."""
        found = [item for day in days for item in self.noted.get(day, ())]
        return pa.Table.from_pylist(found, schema=FINDINGS_SCHEMA)


def read_inputs(store: LeaderboardStore) -> CorpusInputs:
    """Return what is known of the corpus now.

    Raises:
        InventoryError, VerdictsError, LogStateError: what is stored cannot be read.
    """
    entries = _inventory(store)
    rows: dict[str, tuple[int, int]] = {}
    start = 0
    # The counts come in the order in which the days first
    # appear, and the entries are ordered by day.
    found: Any = entries["created_day"].value_counts()
    for item in found.to_pylist():
        rows[str(item["values"])] = (start, int(item["counts"]))
        start += int(item["counts"])
    noted, unplaced = _noted(store, entries)
    inputs = {
        day: DayInputs(
            inventory=digest(
                batch.serialize().to_pybytes() for batch in entries.slice(*place).to_batches()
            ),
            verdicts=file_state(store.corpus.verdicts_path(day)),
            noted=digest([orjson.dumps(noted.get(day, []))]),
        )
        for day, place in rows.items()
    }
    return CorpusInputs(entries, rows, noted, unplaced, inputs)


def _inventory(store: LeaderboardStore) -> pa.Table:
    """Return the inventory's columns, ordered by day and, in a day, as they are: by repository."""
    table = inventory_table(store.corpus, INVENTORY_SCHEMA)
    if not table.num_rows:
        return table
    # There are few days and many repositories, so numbers are sorted instead of texts.
    encoded: Any = table["created_day"].combine_chunks().dictionary_encode()
    names, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    places = np.empty(len(names), dtype=np.int64)
    places[np.argsort(np.array(names, dtype=np.str_))] = np.arange(len(names))
    return table.take(np.argsort(places[codes], kind="stable")).combine_chunks()


def _noted(
    store: LeaderboardStore, entries: pa.Table
) -> tuple[dict[str, list[dict[str, Any]]], tuple[Finding, ...]]:
    """Return what was noted, the logs first: a record no log holds is the worst."""
    found = [
        *(("logs", item) for item in log_findings(store.corpus)),
        *(("crawl", item) for item in load_findings(store.corpus)),
        *((PRECEDENCE, item) for item in repeated_runs(store.corpus)),
    ]
    if not found:
        return {}, ()
    about = {item.repo_id for _, item in found}
    places = {
        repo_id: day
        # Only the few repositories with a finding are looked up, and not the whole inventory.
        for repo_id, day in zip(
            entries["repo_id"].to_pylist(), entries["created_day"].to_pylist(), strict=True
        )
        if repo_id in about
    }
    noted: dict[str, list[dict[str, Any]]] = defaultdict(list)
    unplaced = []
    for source, item in found:
        day = places.get(item.repo_id)
        if day is None:
            unplaced.append(item)
        else:
            noted[day].append({"source": source, **item.model_dump(mode="json")})
    return dict(noted), tuple(unplaced)
