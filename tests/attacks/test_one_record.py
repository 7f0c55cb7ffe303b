"""One record of a stranger, whatever it holds, stops nobody's leaderboard.

Every place of a valid envelope takes every nasty value, beside good records: index, check, tables,
pages and the published form are made, the good rows are what they are without it, and the bad
record is a row like others or one that says why it cannot be read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.records import write_records
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import DayVerdicts
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.leaderboard.document import Leaderboard, RunRow
from inferencebench_pipeline.leaderboard.index.build import build_index, load_leaderboard
from inferencebench_pipeline.leaderboard.index.check import check_rows
from inferencebench_pipeline.leaderboard.index.export import published_files
from inferencebench_pipeline.leaderboard.site.site import render_site
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.trust import CheckpointRefusedError
from tests.attacks.nasty import NASTY, Place, acting, envelopes, places
from tests.chance import drawn
from tests.corpus.world import ORG, FolderHub, record, verifier

BASE: Final = record(new_run_id(), f"{ORG}/base")
PLAIN: Final[dict[str, Any]] = json.loads(BASE["envelope.json"])
PLACES: Final = [place for place in places(PLAIN) if place[0] != "signature"]
EVERYTHING: Final = [(place, name) for place in PLACES for name in NASTY]
RUNNING_TEXT: Final = {".html", ".js", ".json", ".md"}


def without_traces() -> dict[str, Any]:
    """Return an envelope that binds no traces, so that whoever signs it sees it ranked."""
    document = json.loads(BASE["envelope.json"])
    del document["distributions"]["traces.parquet"]
    return dict(document)


def life(hub: FolderHub, store: Path) -> Leaderboard:
    """Run everything that stands between a repository on the Hub and a page."""
    crawl_source(hub, ORG, CorpusStore(store))
    for day in created_days(CorpusStore(store)):
        verify_day(CorpusStore(store), day, verifier())
    write_records(CorpusStore(store))
    build_index(LeaderboardStore(store))
    assert check_rows(LeaderboardStore(store)) == []
    published_files(LeaderboardStore(store))
    render_site(LeaderboardStore(store))
    return load_leaderboard(LeaderboardStore(store))


def good_rows(board: Leaderboard) -> dict[str, RunRow]:
    return {row.repo_id: row for row in board.runs if "/good-" in row.repo_id}


def publish(hub: FolderHub, attacks: list[tuple[Place, str]]) -> dict[str, tuple[Place, str]]:
    """Publish a record for each attack, in each of its forms; return what each is."""
    document, known = without_traces(), {}
    for place, name in attacks:
        if place == ("distributions", "traces.parquet"):
            continue
        for data in envelopes(document, place, NASTY[name]):
            repo_id = f"{ORG}/bad-{len(known):05d}"
            hub.commit(repo_id, {"envelope.json": data, "README.md": BASE["README.md"]})
            known[repo_id] = (place, name)
    return known


def check_life_beside(hub: FolderHub, store: Path, attacks: list[tuple[Place, str]]) -> None:
    for number in range(2):
        repo_id = f"{ORG}/good-{number}"
        hub.commit(repo_id, record(new_run_id(), repo_id))
    before = good_rows(life(hub, store))
    assert {row.state for row in before.values()} == {"verified"}

    known = publish(hub, attacks)
    board = life(hub, store)

    assert good_rows(board) == before
    rows = {row.repo_id: row for row in board.runs}
    for repo_id, what in known.items():
        row = rows[repo_id]
        assert row.state == "verified" or row.state_reason, what
        assert row.run_id is not None or row.state in {"unreadable", "rejected"}, what
        assert not acting(row.model_dump_json()), what
    assert_nothing_acts(store)


def assert_nothing_acts(store: Path) -> None:
    """Pages, documents and tables hold no character that acts on a terminal or a line."""
    leaderboard = store / "leaderboard"
    for path in leaderboard.rglob("*"):
        if path.suffix in RUNNING_TEXT and "vendor" not in path.parts:
            assert not acting(path.read_text()), path
    for path in [CorpusStore(store).records_path, *leaderboard.rglob("*.parquet")]:
        for row in pq.read_table(path).to_pylist():
            assert not acting(json.dumps(row, default=str, ensure_ascii=False)), path
    for day in created_days(CorpusStore(store)):
        assert not acting(DayVerdicts.load(CorpusStore(store), day).model_dump_json())


@pytest.fixture
def hub(tmp_path: Path) -> FolderHub:
    return FolderHub(tmp_path / "hub")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_one_record_stops_no_leaderboard(hub: FolderHub, store: Path) -> None:
    """A hundred of the sixteen thousand, and those that did it once."""
    notes = ("inferencebench_pipeline", "metric_notes", "ttft_p50_ms")
    known: list[tuple[Place, str]] = [
        ((*notes, "n"), "2^63"),
        ((*notes, "unit"), "half a pair"),
        ((*notes, "null_reason"), "NUL"),
        (("inferencebench_pipeline", "metric_definitions"), "half a pair"),
        (("driver_options", "load", "concurrency"), "10^400"),
        (("model", "id"), "100 kB"),
        (("suite_id",), "reordering"),
        (("timestamp",), "year 1"),
        (("timestamp",), "year 9999"),
        (("run_id",), "path"),
        (("seed",), "10^400"),
    ]
    check_life_beside(hub, store, [*known, *drawn("values in a record", EVERYTHING, 100)])


@pytest.mark.nightly
@pytest.mark.parametrize("shard", range(20))
def test_no_value_in_any_place_stops_a_leaderboard(hub: FolderHub, store: Path, shard: int) -> None:
    check_life_beside(hub, store, EVERYTHING[shard::20])


def test_what_no_column_holds_is_a_row_that_says_so(hub: FolderHub, store: Path) -> None:
    place = ("inferencebench_pipeline", "metric_notes", "ttft_p50_ms", "n")
    unsigned, signed_anew = envelopes(without_traces(), place, 2**63)
    hub.commit(f"{ORG}/rejected", {"envelope.json": unsigned})
    hub.commit(f"{ORG}/unreadable", {"envelope.json": signed_anew})

    rejected, unreadable = life(hub, store).runs

    said = "metric ttft_p50_ms: n is 9223372036854775808, a number that no table holds"
    assert unreadable.state == "unreadable"
    assert unreadable.state_reason == f"its envelope cannot be shown: {said}"
    assert rejected.state == "rejected"
    assert rejected.state_reason is not None
    assert rejected.state_reason.endswith(f"; it cannot be shown either: {said}")


def test_ten_thousand_metrics_and_names_that_look_alike(hub: FolderHub, store: Path) -> None:
    many = without_traces()
    many["metrics"] |= {f"m{number}": 1.0 for number in range(10_000)}
    alike = without_traces()
    alike["metrics"] |= {"a\u202eb": 1.0, "a\\u202eb": 2.0}
    for name, document in (("many", many), ("alike", alike)):
        for number, data in enumerate(envelopes(document, ("suite_id",), "one")):
            hub.commit(f"{ORG}/{name}-{number}", {"envelope.json": data})

    rows = {row.repo_id: row for row in life(hub, store).runs}

    assert rows[f"{ORG}/many-1"].state in {"verified", "invalid"}
    assert rows[f"{ORG}/alike-1"].state == "unreadable"


def test_a_group_of_extreme_numbers_is_ranked_and_drawn(hub: FolderHub, store: Path) -> None:
    """Ratios, squares and logarithms of what strangers state stay numbers."""
    extremes = [1e100, -1e100, 1e-100, -1e-100, 0.0, 1e99]
    for number in range(18):
        document = without_traces()
        document["metrics"] = {
            key: extremes[(number + at) % len(extremes)]
            for at, key in enumerate(document["metrics"])
        }
        document["engine"]["version"] = f"{number}"
        document["inferencebench_pipeline"]["validity"] = []
        for data in envelopes(document, ("seed",), 1):
            hub.commit(f"{ORG}/extreme-{number}-{hash(data)}", {"envelope.json": data})

    board = life(hub, store)

    assert board.states == {"rejected": 18, "verified": 18}


def test_the_same_run_a_hundred_times_is_one_row_that_ranks(hub: FolderHub, store: Path) -> None:
    files = record(new_run_id(), f"{ORG}/good-0")
    for number in range(100):
        hub.commit(f"{ORG}/copy-{number:02d}", files)

    board = life(hub, store)

    assert board.states == {"duplicate": 99, "verified": 1}


@pytest.mark.parametrize(
    "error",
    [
        OverflowError("int too large to convert\x1b[2J"),
        KeyError("inclusionProof"),
        json.JSONDecodeError("expecting value", "NaN", 0),
        RecursionError("maximum recursion depth exceeded"),
        MemoryError("unable to allocate"),
        AssertionError("it was thought that this cannot be"),
        pa.ArrowInvalid("no magic bytes"),
        pa.ArrowIOError("cannot deserialize thrift"),
        pa.ArrowNotImplementedError("of such a column"),
        duckdb.OutOfRangeException("overflow in multiplication"),
        CheckpointRefusedError("the note is not a checkpoint"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        type("UnheardOfError", (Exception,), {})("\ud800"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_record_that_no_code_expected_is_a_finding_and_the_others_are_verified(
    hub: FolderHub, store: Path, error: Exception
) -> None:
    """The belt: whatever the next such value is, the day's other verdicts are written."""
    for name in ("good-0", "strange"):
        hub.commit(f"{ORG}/{name}", record(new_run_id(), f"{ORG}/{name}"))
    crawl_source(hub, ORG, CorpusStore(store))
    strange = (hub.folder / f"{ORG}/strange").glob("*/envelope.json")
    unexpected = next(strange).read_bytes()

    class Judge:
        rules = verifier().rules

        def open(self) -> Any:
            honest = verifier().open()

            def verify(envelope: bytes, traces: bytes | None, organisation: str) -> Any:
                if envelope == unexpected:
                    raise error
                return honest(envelope, traces, organisation)

            return verify

    (day,) = created_days(CorpusStore(store))
    found = verify_day(CorpusStore(store), day, Judge())

    assert [entry.repo_id for entry in found.entries] == [f"{ORG}/good-0"]
    (finding,) = found.findings
    assert finding.repo_id == f"{ORG}/strange"
    assert f"it cannot be examined: {type(error).__name__}: " in finding.detail
    assert finding.detail.isprintable()
    build_index(LeaderboardStore(store))
    states = {row.repo_id: row.state for row in load_leaderboard(LeaderboardStore(store)).runs}
    assert states == {f"{ORG}/good-0": "verified", f"{ORG}/strange": "unverified"}


def test_records_of_the_corpus_can_be_queried(hub: FolderHub, store: Path) -> None:
    publish(hub, [(("model", "id"), name) for name in NASTY])
    life(hub, store)
    with duckdb.connect(":memory:") as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM read_parquet($records)",
            {"records": str(CorpusStore(store).records_path)},
        ).fetchall()[0]
    assert count == len(load_leaderboard(LeaderboardStore(store)).runs)
