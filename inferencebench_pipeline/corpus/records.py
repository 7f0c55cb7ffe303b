"""``corpus/records.parquet``: the inventory with what verification found, one row per repository.

For whoever asks "what is published, by whom, and does it hold": DuckDB, a notebook, the viewer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inferencebench_pipeline.corpus.blobs import BlobStore
from inferencebench_pipeline.corpus.findings import Finding, FindingKind, Severity, finding
from inferencebench_pipeline.corpus.inventory import (
    RepoState,
    inventory_table,
)
from inferencebench_pipeline.corpus.log_monitor import log_findings
from inferencebench_pipeline.corpus.precedence import Claim, Shared, repetitions
from inferencebench_pipeline.corpus.store import CorpusStore, VerdictsError
from inferencebench_pipeline.corpus.verdicts import (
    Rules,
    sound_lines,
    unreadable,
    verified_days,
)
from inferencebench_pipeline.files import (
    file_state,
    is_plain_file,
    is_there,
    read_plain,
    replaced_atomically,
)

_TIME = pa.timestamp("us", tz="UTC")
_JUDGED_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("repo_id", pa.string()),
    ("organisation", pa.string()),
    ("envelope_sha256", pa.string()),
    ("traces_sha256", pa.string()),
    ("verified_at", _TIME),
    ("outcome", pa.string()),
    ("failure_class", pa.string()),
    ("method", pa.string()),
    ("signer", pa.string()),
    ("issuer", pa.string()),
    ("log_index", pa.int64()),
    ("policy_sha256", pa.string()),
    ("trust_root_sha256", pa.string()),
    ("verifier_version", pa.string()),
    ("findings", pa.list_(pa.string())),
    ("signed_at", _TIME),
    ("content_sha256", pa.string()),
    ("body_sha256", pa.string()),
    ("clean", pa.bool_()),
]
_JUDGED = pa.schema(_JUDGED_COLUMNS)

# A verdict counts only for the bytes and the namespace that it was reached for.
_RECORDS = """
SELECT i.organisation, i.repo_id, i.revision, i.created_at, i.state, i.run_id, i.suite_id,
    i.model_id, i.envelope_sha256, i.traces_sha256, j.signer, j.issuer,
    CASE WHEN j.outcome IS DISTINCT FROM 'verified' THEN NULL
        WHEN j.method = 'dev-key' THEN 'dev'
        WHEN i.community THEN 'community'
        ELSE 'verified'
    END AS tier,
    j.outcome, j.failure_class, j.log_index, j.verified_at, j.policy_sha256, j.trust_root_sha256,
    j.verifier_version, coalesce(j.findings, []) AS findings, j.signed_at, j.content_sha256,
    j.body_sha256, i.community, j.clean
FROM inventory i
LEFT JOIN judged j ON j.repo_id = i.repo_id
    AND j.organisation = i.organisation
    AND j.envelope_sha256 = i.envelope_sha256
    AND j.traces_sha256 IS NOT DISTINCT FROM i.traces_sha256
ORDER BY i.repo_id
"""


# These records are not as the last pass of verification saw them, or it never saw them.
_UNVERIFIED = """
SELECT i.created_day,
    list_sort(list(i.repo_id || '@' || coalesce(i.envelope_sha256, '-') || ' ' || i.state)),
    list(i.envelope_sha256), list(i.traces_sha256)
FROM inventory i LEFT JOIN records r ON r.repo_id = i.repo_id
WHERE r.state IS DISTINCT FROM i.state OR i.state = $published AND (
    r.outcome IS NULL OR r.envelope_sha256 IS DISTINCT FROM i.envelope_sha256
    OR r.traces_sha256 IS DISTINCT FROM i.traces_sha256)
GROUP BY i.created_day
ORDER BY i.created_day
"""


def unverified_days(store: CorpusStore) -> dict[str, tuple[str, ...]]:
    """Return the days with records that were not verified as they are now, oldest first.

    A table of records that cannot be read says nothing of any record: all are to be verified, which
    writes it anew. So is a day whose verdicts have a file that is not what was written.

    Returns:
        By day, what is there now of each such record: repository, envelope, state and, where its
        bytes are not here, that.

    Raises:
        InventoryError: the inventory cannot be read.
    """
    inventory = inventory_table(store)
    if not inventory.num_rows:
        return {}
    with duckdb.connect(":memory:") as connection:
        connection.register("inventory", inventory)
        connection.register("records", _known(store))
        rows = connection.execute(_UNVERIFIED, {"published": RepoState.PUBLISHED.value}).fetchall()
    blobs = store.blobs()
    found = {
        # What a crawl has fetched again since is worth another look.
        day: (*records, *(f"without {name}" for name in _lacking(blobs, {*envelopes, *traces})))
        for day, records, envelopes, traces in rows
    }
    found.update({day: (f"damaged: {why}",) for day, why in _damaged(store).items()})
    return dict(sorted(found.items()))


def write_records(store: CorpusStore) -> Path | None:
    """Write the table anew from the inventory and the stored verdicts; None while either lacks.

    The ``tier`` is ``verified`` for a keyless signature that holds, ``dev`` for a pinned key, and
    ``community`` for one that holds outside our namespace. ``repeats`` says which record was first
    with the same run, and is null where none was.

    Raises:
        InventoryError, VerdictsError: what is stored cannot be read.
        LockedError: a verification is going on.
        StoreError: the table cannot be written.
    """
    path = store.records_path
    # Under the lock, so that the table does not mix verdicts of two passes.
    with store.verifying():
        inventory, days = inventory_table(store), verified_days(store)
        crawled = inventory.num_rows or is_there(store.inventory_path)
        if not days or not crawled:
            return None
        made_of = _made_of(store, days)
        table = _records(store, inventory, days)
        # Kept inside the table, so that the two can never be of different passes.
        table = table.replace_schema_metadata(made_of)
        with replaced_atomically(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    return path


def repeated_runs(store: CorpusStore) -> list[Finding]:
    """Return a finding for each good record whose run another one was first with.

    The table of records has them; where it is not of the verdicts and the inventory that are here
    now, they are computed as they would be for it.

    Raises:
        InventoryError, VerdictsError, LogStateError: what is stored cannot be read.
    """
    days = verified_days(store)
    table = _current(store, days)
    if table is None:
        table = _records(store, inventory_table(store), days).select(_REPETITIONS.names)
    kept = table.filter(pc.is_valid(table["repeats"]))
    return [
        finding(
            FindingKind.DUPLICATE_RUN, row["repo_id"], row["revision"], row["repeats"],
            row["verified_at"],
        )
        for row in kept.to_pylist()
    ]  # fmt: skip


def _records(store: CorpusStore, inventory: pa.Table, days: Sequence[str]) -> pa.Table:
    with duckdb.connect(":memory:") as connection:
        connection.register("judged", _judged(store, days))
        connection.register("inventory", inventory)
        joined = connection.sql(_RECORDS).to_arrow_table()
    # A record that no honest log holds has no time that could be believed.
    unlogged = {item.repo_id for item in log_findings(store)}
    repeats = repetitions(_claims(joined, unlogged))
    named = [repeats.get(repo_id) for repo_id in joined["repo_id"].to_pylist()]
    findings = [
        sorted({*kinds, FindingKind.DUPLICATE_RUN}) if sentence else kinds
        for kinds, sentence in zip(joined["findings"].to_pylist(), named, strict=True)
    ]
    at = joined.schema.get_field_index("findings")
    table: pa.Table = (
        joined.set_column(at, "findings", pa.array(findings, pa.list_(pa.string())))
        .append_column("repeats", pa.array(named, pa.string()))
        .drop(["community", "clean"])
    )
    return table


def _claims(joined: pa.Table, unlogged: Collection[str]) -> Iterator[Claim]:
    """Yield what each good record claims."""
    good = joined.filter(pc.is_in(joined["outcome"], pa.array(["verified"])))
    names = (
        "repo_id", "organisation", "signer", "issuer", "community", "signed_at", "state", "clean",
        "run_id", "traces_sha256", "content_sha256", "body_sha256",
    )  # fmt: skip
    for (
        repo_id, organisation, signer, issuer, community, signed_at, state, clean, run_id, traces,
        content, body,
    ) in zip(*(good[name].to_pylist() for name in names), strict=True):  # fmt: skip
        if repo_id in unlogged:
            continue
        marks = (
            # A run id is a hexadecimal number, whose letters may be of either case.
            (Shared.RUN_ID, run_id and run_id.strip().lower()),
            (Shared.FILE, traces),
            (Shared.CONTENT, content),
            (Shared.BODY, body),
        )
        yield Claim(
            repo_id=repo_id,
            organisation=organisation,
            identity=signer or "",
            issuer=issuer or "",
            ours=not community,
            logged_at=signed_at,
            ranks=clean and state == RepoState.PUBLISHED,
            marks=tuple((shared, value) for shared, value in marks if value),
        )


_MADE_OF = b"verdicts"
"""The key, in the table's own description, of the state of each day's file of verdicts."""
_MADE_BESIDE = b"beside"
"""The key of the states of the inventory and of the reports on the logs."""
_REPETITION_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("repo_id", pa.string()),
    ("revision", pa.string()),
    ("repeats", pa.string()),
    ("verified_at", _TIME),
]
_REPETITIONS = pa.schema(_REPETITION_COLUMNS)


def _made_of(store: CorpusStore, days: Iterable[str]) -> dict[bytes, bytes]:
    """Return the description of a table that is made of the files that are here now."""
    states = {day: file_state(store.verdicts_path(day)) for day in days}
    beside = [file_state(store.inventory_path), file_state(store.log_reports_path)]
    return {_MADE_OF: orjson.dumps(states), _MADE_BESIDE: orjson.dumps(beside)}


def _current(store: CorpusStore, days: Iterable[str]) -> pa.Table | None:
    """Return the table where it is made of what is here now; None otherwise."""
    try:
        data = pa.BufferReader(read_plain(store.records_path))
        described = pq.read_schema(data).metadata or {}
        if any(described.get(key) != value for key, value in _made_of(store, days).items()):
            return None
        data.seek(0)
        return pq.read_table(data, schema=_REPETITIONS)
    except (OSError, ValueError, TypeError, pa.ArrowException):
        return None


_BYTES = ("envelope_sha256", "traces_sha256")
_KNOWN = pa.schema([(name, pa.string()) for name in ("repo_id", "state", *_BYTES, "outcome")])


def _known(store: CorpusStore) -> pa.Table:
    """Return what the table says of each record; nothing where it cannot be read."""
    try:
        return pq.read_table(pa.BufferReader(read_plain(store.records_path)), schema=_KNOWN)
    except (OSError, ValueError, TypeError, pa.ArrowException):
        return pa.Table.from_pylist([], schema=_KNOWN)


def _lacking(blobs: BlobStore, names: Iterable[str | None]) -> list[str]:
    return sorted(
        name for name in names if name is not None and not blobs.has(name, size_bytes=None)
    )


def _damaged(store: CorpusStore) -> dict[str, str]:
    """Return the days whose verdicts cannot be read as they are, and the state of their files.

    Only files that are not those which the table was made of are looked into.
    """
    try:
        described = pq.read_schema(pa.BufferReader(read_plain(store.records_path))).metadata
        made_of = orjson.loads((described or {}).get(_MADE_OF, b"{}"))
    except (OSError, ValueError, pa.ArrowException):
        return {}
    damaged = {}
    for day in {*made_of, *verified_days(store)}:
        path = store.verdicts_path(day)
        state = file_state(path)
        if made_of.get(day) != state and not (is_plain_file(path) and _is_sound(store, day)):
            damaged[day] = state
    return damaged


def _is_sound(store: CorpusStore, day: str) -> bool:
    try:
        for line in sound_lines(store, day):
            orjson.loads(line)
    except (VerdictsError, orjson.JSONDecodeError):
        return False
    return True


def _judged(store: CorpusStore, days: Iterable[str]) -> pa.Table:
    """Return what the stored lines say of the bytes that were judged."""
    rows = []
    for day in days:
        for line in sound_lines(store, day):
            try:
                rows.append(_row(orjson.loads(line)))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                raise unreadable(store.verdicts_path(day), error) from error
    try:
        return pa.Table.from_pylist([row for row in rows if row is not None], schema=_JUDGED)
    except (OverflowError, ValueError, pa.ArrowException) as error:
        raise unreadable(store.verdicts_folder, error) from error


def _row(line: dict[str, Any]) -> dict[str, Any] | None:
    judged = line["judged"]
    if judged is None:
        return None
    verdict = judged["verdict"]
    signer, log, signed_at = verdict["signer"] or {}, verdict["log"] or {}, verdict["signed_at"]
    return {
        **{name: judged[name] for name in ("repo_id", "organisation", *_BYTES)},
        "verified_at": datetime.fromisoformat(judged["verified_at"]),
        "outcome": verdict["outcome"],
        "failure_class": verdict["failure_class"],
        "method": signer.get("method"),
        "signer": signer.get("identity"),
        "issuer": signer.get("issuer"),
        "log_index": log.get("index"),
        **{name: verdict[name] for name in Rules._fields},
        "findings": sorted({item["kind"] for item in line["findings"]}),
        "signed_at": signed_at and datetime.fromisoformat(signed_at),
        "content_sha256": judged.get("content_sha256"),
        "body_sha256": judged.get("body_sha256"),
        "clean": not any(item["severity"] == Severity.ERROR for item in line["findings"]),
    }
