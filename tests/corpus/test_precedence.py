"""A result counts once, and for whom it belongs, whatever strangers publish and when it is seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from inferencebench_pipeline.corpus.precedence import Claim, Shared, repetitions
from tests.chance import dice, examples

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def claim(
    repo_id: str,
    minute: int | None = 0,
    *,
    run: str = "",
    file: str = "",
    content: str = "",
    body: str = "",
    by: str | None = None,
    ours: bool = False,
    ranks: bool = True,
) -> Claim:
    organisation = repo_id.partition("/")[0]
    marks = {Shared.RUN_ID: run, Shared.FILE: file, Shared.CONTENT: content, Shared.BODY: body}
    return Claim(
        repo_id=repo_id,
        organisation=organisation,
        identity=by or f"https://github.com/{organisation}/bench/publish.yml@refs/heads/main",
        issuer="https://issuer",
        ours=ours,
        logged_at=None if minute is None else NOON + timedelta(minutes=minute),
        ranks=ranks,
        marks=tuple((shared, value) for shared, value in marks.items() if value),
    )


BORG = claim("borg/x", 1, run="r", content="c")

TABLE: dict[str, tuple[list[Claim], dict[str, str]]] = {
    "nothing in common": ([BORG, claim("carol/y", 0, run="s", content="d")], {}),
    "no records": ([], {}),
    "a run id that was used before": ([BORG, claim("carol/y", 2, run="r")], {"carol/y": "borg/x"}),
    "signed again under new run ids": (
        [claim(f"borg/{name}", name, run=f"r{name}", file="f", content="c") for name in range(4)],
        {f"borg/{name}": "borg/0" for name in (1, 2, 3)},
    ),
    "encoded again": (
        [BORG, claim("borg/y", 2, run="s", file="g", content="c")],
        {"borg/y": "borg/x"},
    ),
    "the same words without traces": (
        [claim("borg/x", 1, run="r", body="b"), claim("carol/y", 2, run="s", body="b")],
        {"carol/y": "borg/x"},
    ),
    "ours is later than a stranger's": (
        [BORG, claim("we/y", 2, run="r", ours=True)],
        {"we/y": "borg/x"},
    ),
    "ours is earlier": ([claim("we/y", 0, run="r", ours=True), BORG], {"borg/x": "we/y"}),
    "the same time, ours is first": (
        [claim("a/x", 1, run="r"), claim("we/y", 1, run="r", ours=True)],
        {"a/x": "we/y"},
    ),
    "copies of the same bytes, in the namespace of the signer first": (
        [claim("a/x", 1, run="r", by=BORG.identity), BORG],
        {"a/x": "borg/x"},
    ),
    "no times at all": (
        [claim("b/x", None, run="r"), claim("a/y", None, run="r")],
        {"b/x": "a/y"},
    ),
    "a trusted time before none, ours or not": (
        [claim("we/x", None, run="r", ours=True), claim("z/y", 5, run="r")],
        {"we/x": "z/y"},
    ),
    "a chain is no way round": (
        [
            claim("borg/x", 1, run="r", content="c"),
            claim("borg/y", 2, run="r", content="d"),
            claim("borg/z", 3, run="s", content="d"),
        ],
        {"borg/y": "borg/x", "borg/z": "borg/y"},
    ),
    "a bridge between two runs of others takes neither": (
        [
            claim("borg/x", 1, run="r", content="c"),
            claim("dave/y", 2, run="s", content="d"),
            claim("carol/z", 3, run="r", content="d"),
        ],
        {"carol/z": "borg/x"},
    ),
    "a record that is gone keeps its run": (
        [claim("borg/x", 1, run="r", ranks=False), claim("carol/y", 2, run="r")],
        {"carol/y": "borg/x, which does not rank itself"},
    ),
    "its own holder's other record ranks then": (
        [
            claim("borg/x", 1, run="r", ranks=False),
            claim("carol/y", 2, run="r"),
            claim("borg/z", 3, run="r"),
        ],
        {"carol/y": "borg/z"},
    ),
    "of another signer of the same organisation it does not": (
        [
            claim("borg/x", 1, run="r", ranks=False),
            claim("borg/z", 3, run="r", by="mallory@example.org"),
        ],
        {"borg/z": "borg/x, which does not rank itself"},
    ),
    "what does not rank is not said to repeat": (
        [BORG, claim("carol/y", 2, run="r", ranks=False)],
        {},
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_repeats_another_record(name: str) -> None:
    claims, expected = TABLE[name]
    found = repetitions(claims)
    assert found.keys() == expected.keys()
    for repo_id, of in expected.items():
        assert found[repo_id].startswith(f"it repeats {of}: "), found[repo_id]
    assert repetitions(reversed(claims)) == found


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (1, 2, "was signed first, at 2026-11-30 12:01:00Z"),
        (1, 1, "has the same trusted time (2026-11-30 12:01:00Z) and comes first by its namespace"),
        (1, None, "has a trusted time (2026-11-30 12:01:00Z), which this one has not"),
        (None, None, "comes first by its name, since neither has a trusted time"),
    ],
)
def test_the_sentence_says_which_came_first_and_why(
    before: int | None, after: int | None, told: str
) -> None:
    claims = [claim("a/x", before, run="r"), claim("b/y", after, run="r")]
    sentence = f"it repeats a/x: it has the same run id, and that record {told}"
    assert repetitions(claims) == {"b/y": sentence}


def events(chance: Random) -> list[Claim]:
    """Publications by several accounts, who copy run ids and traces from one another."""
    accounts = ("we", "borg", "carol", "dave")
    found = []
    for number in range(chance.randrange(2, 30)):
        account = chance.choice(accounts)
        found.append(
            claim(
                f"{account}/{number}",
                chance.choice([None, *range(12)]),
                run=f"r{chance.randrange(8)}",
                file=chance.choice(["", f"f{chance.randrange(8)}"]),
                content=chance.choice(["", f"c{chance.randrange(8)}"]),
                body=chance.choice(["", f"b{chance.randrange(8)}"]),
                by=chance.choice([None, "https://github.com/borg/bench/publish.yml", "mallory"]),
                ours=account == "we",
                ranks=chance.random() < 0.8,
            )
        )
    return found


def ranked(claims: list[Claim]) -> list[Claim]:
    repeated = repetitions(claims)
    return [item for item in claims if item.ranks and item.repo_id not in repeated]


def test_no_sequence_of_publications_lets_a_run_count_twice_or_depends_on_the_crawl() -> None:
    chance = dice("precedence")
    for _ in range(examples(300)):
        claims = events(chance)
        found = repetitions(claims)
        marks = [mark for item in ranked(claims) for mark in item.marks]
        assert len(marks) == len(set(marks)), claims
        shuffled = chance.sample(claims, len(claims))
        assert repetitions(shuffled) == found


def test_what_is_logged_later_takes_nothing_away() -> None:
    chance = dice("precedence, one later")
    for _ in range(examples(300)):
        claims = events(chance)
        before = {item.repo_id for item in ranked(claims)}
        timed = {item.repo_id for item in claims if item.logged_at is not None}
        late = chance.choice(events(chance))
        late = late._replace(repo_id="late/one", logged_at=NOON + timedelta(days=1), ours=True)
        after = {item.repo_id for item in ranked([*claims, late])}
        # A bare key has no time, so that nobody knows which of the two was first.
        assert before & timed <= after


def test_each_run_that_somebody_still_shows_first_hand_counts() -> None:
    """A record that is the first with all that it is recognised by ranks, come what may."""
    chance = dice("precedence, first hand")
    for _ in range(examples(300)):
        claims = events(chance)
        first = claim("first/one", -1, run="r1", content="c1", body="b1")
        assert first in ranked([*claims, first])
