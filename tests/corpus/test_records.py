from __future__ import annotations

import duckdb

from inferencebench_pipeline.corpus.inventory import crawl_source
from inferencebench_pipeline.corpus.records import write_records
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import ORG, altered, record, verifier

DAY = "2026-05-18"


def rows(store) -> list[tuple]:
    return duckdb.sql(
        "SELECT repo_id, revision, envelope_sha256 IS NOT NULL, signer IS NOT NULL, tier, outcome, "
        f"findings FROM '{store.records_path}'"
    ).fetchall()


def test_one_row_says_what_is_published_by_whom_and_whether_it_holds(hub, store):
    good, bad = record(new_run_id(), f"{ORG}/good"), record(new_run_id(), f"{ORG}/bad")
    bad["envelope.json"] = altered(bad["envelope.json"], seed=7)
    hub.commit(f"{ORG}/good", good)
    hub.commit(f"{ORG}/bad", bad)
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())

    write_records(store)

    heads = {name: head for name, (head, _) in hub.heads.items()}
    assert rows(store) == [
        (f"{ORG}/bad", heads[f"{ORG}/bad"], True, False, None, "rejected", ["tampered"]),
        (f"{ORG}/good", heads[f"{ORG}/good"], True, True, "dev", "verified", []),
    ]


def test_a_verdict_on_other_bytes_than_are_published_now_does_not_count(hub, store):
    hub.commit(f"{ORG}/one", record(new_run_id(), f"{ORG}/one"))
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    hub.commit(f"{ORG}/one", record(new_run_id(), f"{ORG}/one"))
    crawl_source(hub, ORG, store)

    write_records(store)

    ((_, _, _, _, tier, outcome, _),) = rows(store)
    assert (tier, outcome) == (None, None)


def test_there_is_no_table_before_anything_is_verified(hub, store):
    crawl_source(hub, ORG, store)

    assert write_records(store) is None
