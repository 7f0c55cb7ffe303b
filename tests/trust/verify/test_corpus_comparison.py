"""Each way in which a table or a leaderboard can differ from its statement, and none of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from inferencebench_pipeline.trust.verify.corpus_comparison import (
    CorpusDifference,
    CorpusProblem,
    compare_age,
    compare_files,
    compare_index,
    compare_rules,
    compare_table,
)
from inferencebench_pipeline.trust.verify.corpus_statement import (
    STATEMENT_SUITE,
    CorpusRow,
    CorpusStatement,
    build_statement,
    verify_corpus_statement,
)
from tests.chance import dice, examples
from tests.trust.conftest import World

Rows = list[CorpusRow]


def row(number: int, **changes: str | None) -> CorpusRow:
    """A row whose every value is its own."""
    fields: dict[str, str | None] = {
        "repo_id": f"example-org/run-{number:02}",
        "revision": hashlib.sha1(b"%d" % number).hexdigest(),
        "created_day": f"2026-05-{number + 1:02}",
        "run_id": f"run-{number}",
        "envelope_sha256": hashlib.sha256(b"envelope %d" % number).hexdigest(),
        "traces_sha256": hashlib.sha256(b"traces %d" % number).hexdigest(),
    }
    return CorpusRow(**{**fields, **changes})  # type: ignore[arg-type]


TWICE = row(5)._replace(repo_id="example-org/copy", revision="c" * 40)
ROWS = [*(row(number) for number in range(6)), TWICE, row(6, traces_sha256=None)]
"""Of these, two are of one envelope, and one has no traces."""
INDEX = {
    name: hashlib.sha256(name.encode()).hexdigest()
    for name in ("leaderboard.json", "data/runs/created_month=2026-05/runs.parquet")
}


@pytest.fixture(scope="module")
def stated(running_world: World) -> CorpusStatement:
    return made(running_world, ROWS)


@pytest.fixture(scope="module")
def older(running_world: World) -> CorpusStatement:
    """A statement as earlier releases made it, about a corpus in which nothing is twice."""
    return made(running_world, [item for item in ROWS if item != TWICE], version=1)


def made(world: World, rows: Rows, version: int = 2) -> CorpusStatement:
    data = build_statement(
        rows,
        INDEX,
        organisation=world.organisation,
        policy_sha256=world.policy.sha256,
        trust_root_sha256=world.trust.sha256,
        verified_at=datetime(2026, 11, 30, tzinfo=UTC),
    )
    if version == 1:
        document = json.loads(data)
        del document["predicate"]["inferencebench_corpus"]
        data = json.dumps(document).encode()
    world.faults.clear()
    bundle = world.signer().sign_statement(data, suite_id=STATEMENT_SUITE)
    return verify_corpus_statement(
        bundle, trust=world.trust, policy=world.policy, organisation=world.organisation
    )


def found(problems: list[CorpusProblem]) -> set[str]:
    return {str(problem.difference) for problem in problems}


def changed(column: str, value: str | None) -> Callable[[Rows], Rows]:
    values: dict[str, Any] = {column: value}
    return lambda rows: [rows[0]._replace(**values), *rows[1:]]


def swapped(column: str) -> Callable[[Rows], Rows]:
    def swap(rows: Rows) -> Rows:
        first, second, *rest = rows
        one, two = getattr(first, column), getattr(second, column)
        return [first._replace(**{column: two}), second._replace(**{column: one}), *rest]

    return swap


CASES: dict[str, tuple[Callable[[Rows], Rows], set[str]]] = {
    "as it is": (lambda rows: rows, set()),
    "in another order": (lambda rows: rows[::-1], set()),
    "names swapped": (swapped("repo_id"), {"names_differ"}),
    "a name changed": (changed("repo_id", "example-org/other"), {"names_differ"}),
    "revision changed": (changed("revision", "f" * 40), {"revisions_differ"}),
    "revisions swapped": (swapped("revision"), {"revisions_differ"}),
    "revision taken away": (changed("revision", None), {"revisions_differ"}),
    "day changed": (changed("created_day", "2030-01-01"), {"days_differ"}),
    "run id changed": (changed("run_id", "another"), {"run_ids_differ"}),
    "run ids swapped": (swapped("run_id"), {"run_ids_differ"}),
    "traces changed": (changed("traces_sha256", "0" * 64), {"traces_differ"}),
    "traces taken away": (changed("traces_sha256", None), {"traces_differ"}),
    "a row left out": (lambda rows: rows[1:], {"rows_left_out"}),
    "a row added": (lambda rows: [*rows, row(20)], {"rows_added"}),
    "a row stands twice": (lambda rows: [*rows, rows[0]], {"rows_added"}),
    "an envelope exchanged": (
        changed("envelope_sha256", "0" * 64),
        {"rows_left_out", "rows_added"},
    ),
    "one of two copies left out": (
        lambda rows: [item for item in rows if item != row(5)],
        {"rows_left_out"},
    ),
    "the named one of two copies left out": (
        lambda rows: [item for item in rows if item != TWICE],
        {"names_differ", "rows_left_out"},
    ),
    "one of two copies under another name": (
        lambda rows: [
            item._replace(repo_id="example-org/zzz") if item == row(5) else item for item in rows
        ],
        {"names_differ"},
    ),
    "one of two copies under another envelope": (
        lambda rows: [
            item._replace(envelope_sha256=row(0).envelope_sha256) if item == row(5) else item
            for item in rows
        ],
        {"names_differ", "revisions_differ", "days_differ", "run_ids_differ", "traces_differ"},
    ),
    "several at once": (
        lambda rows: changed("run_id", "x")(swapped("repo_id")(rows)),
        {"names_differ", "run_ids_differ"},
    ),
    "empty": (lambda _rows: [], {"empty"}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_change_of_the_table_is_told_by_its_name(stated: CorpusStatement, case: str) -> None:
    change, expected = CASES[case]
    problems = compare_table(stated, change(ROWS))

    assert found(problems) == expected
    assert all(problem.detail.isprintable() for problem in problems)


def test_whatever_is_changed_in_a_table_is_noticed(stated: CorpusStatement) -> None:
    """Edits by chance, one or several, of which none leaves the rows what they were."""
    rolls = dice("edits of a corpus table")
    for _ in range(examples(300)):
        rows = list(ROWS)
        for _ in range(rolls.randint(1, 3)):
            rows = _edited(rows, rolls)
        differs = sorted(map(str, rows)) != sorted(map(str, ROWS))
        assert bool(compare_table(stated, rows)) == differs, rows


def _edited(rows: Rows, rolls: Random) -> Rows:
    """Rows with one edit: a value, two values exchanged, a row more, a row less, another order."""
    if not rows:
        return [row(rolls.randint(0, 30))]
    at, other = rolls.randrange(len(rows)), rolls.randrange(len(rows))
    column = rolls.choice(CorpusRow._fields)
    kind = rolls.choice(("value", "swap", "more", "less", "order"))
    rows = list(rows)
    if kind == "value":
        value = rolls.choice(("", "null", "a\nb", "x" * 64, getattr(rows[other], column)))
        rows[at] = rows[at]._replace(**{column: value})
    elif kind == "swap":
        one, two = getattr(rows[at], column), getattr(rows[other], column)
        rows[at] = rows[at]._replace(**{column: two})
        rows[other] = rows[other]._replace(**{column: one})
    elif kind == "more":
        rows.insert(at, rolls.choice((rows[other], row(rolls.randint(7, 30)))))
    elif kind == "less":
        del rows[at]
    else:
        rolls.shuffle(rows)
    return rows


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows, set()),
        (lambda rows: rows[1:], {"rows_left_out"}),
        (lambda rows: [*rows, row(20)], {"rows_added"}),
        (swapped("repo_id"), {"names_differ"}),
        (lambda rows: [*rows, TWICE], {"names_differ"}),
        # It never bound these, and says so.
        (changed("revision", "f" * 40), set()),
        (changed("run_id", "another"), set()),
        (lambda _rows: [], {"empty"}),
    ],
)
def test_an_older_statement_is_judged_by_what_it_binds(
    older: CorpusStatement, change: Callable[[Rows], Rows], expected: set[str]
) -> None:
    rows = [item for item in ROWS if item != TWICE]
    assert found(compare_table(older, change(rows))) == expected
    assert compare_index(older, {}) == []


INDEX_CASES: dict[str, tuple[dict[str, str] | None, set[str], str]] = {
    "as it is": (INDEX, set(), ""),
    "changed": ({**INDEX, "leaderboard.json": "0" * 64}, {"index_differs"}, "1 changed"),
    "left out": ({"leaderboard.json": INDEX["leaderboard.json"]}, {"index_differs"}, "1 left out"),
    "added": ({**INDEX, "data/more": "0" * 64}, {"index_differs"}, "1 added (data/more)"),
    "all left out": ({}, {"index_differs"}, "2 left out"),
    "not copied": (None, {"index_missing"}, "none of them is here"),
}


@pytest.mark.parametrize("case", INDEX_CASES)
def test_each_change_of_the_leaderboards_files_is_told(stated: CorpusStatement, case: str) -> None:
    files, expected, said = INDEX_CASES[case]
    problems = compare_index(stated, files)

    assert found(problems) == expected
    assert all(said in problem.detail for problem in problems)


def test_envelopes_without_a_table_are_compared_by_their_digests(stated: CorpusStatement) -> None:
    here = {item.envelope_sha256: [item.repo_id] for item in ROWS}

    assert compare_files(stated, here) == []
    assert found(compare_files(stated, {})) == {"empty"}
    assert found(compare_files(stated, {**here, "0" * 64: ["x/envelope.json"]})) == {"rows_added"}
    del here[ROWS[0].envelope_sha256]
    assert found(compare_files(stated, here)) == {"records_missing"}


def test_other_rules_than_the_readers_are_told(stated: CorpusStatement) -> None:
    ours = {
        "policy_sha256": stated.summary.policy.digest.sha256,
        "trust_root_sha256": stated.summary.trust_root.digest.sha256,
    }
    assert compare_rules(stated, **ours) == []
    for name, difference in (
        ("policy_sha256", "other_policy"),
        ("trust_root_sha256", "other_trust_root"),
    ):
        assert found(compare_rules(stated, **{**ours, name: "0" * 64})) == {difference}


def test_a_reader_without_a_policy_has_not_compared_that_of_the_statement(
    stated: CorpusStatement,
) -> None:
    digest = stated.summary.policy.digest.sha256
    root = stated.summary.trust_root.digest.sha256
    (problem,) = compare_rules(stated, policy_sha256=None, trust_root_sha256=root)
    assert problem.difference == "other_policy"
    owner = stated.summary.resource_uri.removeprefix("hf://datasets/")
    assert f"under {owner}'s own policy {digest}, which you have not compared" in problem.detail


def test_a_statement_before_the_newest_one_is_told(stated: CorpusStatement) -> None:
    signed_at = stated.proof.times[0]
    later, before = signed_at + timedelta(days=1), signed_at - timedelta(days=1)

    def told(sha256: str, seen: datetime) -> set[str]:
        return found(compare_age(stated, seen_sha256=sha256, seen_signed_at=seen))

    assert told("0" * 64, before) == set()
    assert told("0" * 64, later) == {"older_than_seen"}
    assert told(stated.statement_sha256, later) == set()


def test_a_strangers_names_cannot_act_on_a_terminal(stated: CorpusStatement) -> None:
    evil = row(20, repo_id="x/y\n\x1b[2J\x1b[1;1HVERIFIED: all of it\u202e")
    (problem,) = compare_table(stated, [*ROWS, evil])

    assert problem.detail.isprintable()
    assert "\\x1b[2J" in problem.detail


def test_many_names_are_counted_and_some_are_shown(stated: CorpusStatement) -> None:
    (problem,) = compare_table(stated, [*ROWS, *map(row, range(20, 60))])
    assert problem.detail.startswith("40 of 48 results are not in the statement: ")
    assert problem.detail.endswith("…")
    assert len(problem.detail) < 400


def test_every_difference_is_made_by_a_test() -> None:
    """A new one needs a case in this file."""
    told = set().union(
        *(expected for _, expected in CASES.values()),
        *(expected for _, expected, _ in INDEX_CASES.values()),
        {"records_missing", "other_policy", "other_trust_root", "older_than_seen"},
    )
    assert told == {str(difference) for difference in CorpusDifference}
