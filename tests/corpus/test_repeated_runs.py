"""Runs that are published again: found from verdicts, at once or day by day, by any crawl."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.corpus.findings import FindingKind, Severity
from inferencebench_pipeline.corpus.inventory import crawl_others, crawl_source, created_days
from inferencebench_pipeline.corpus.records import repeated_runs, write_records
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import DayVerdicts, Rules
from inferencebench_pipeline.corpus.verification import verify_days
from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope, serialise
from inferencebench_pipeline.leaderboard.index.build import build_index, load_rows
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.measure.run.trace_writer import read_traces
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.trust.verify.policy import DevKeyRule, IdentityPolicy
from inferencebench_pipeline.trust.verify.verdict import ProveFor, Proven
from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier
from tests.chance import dice, examples
from tests.corpus.world import KEY, ORG, TRUST, FolderHub, altered, public_pem, signed
from tests.envelope.measured import measurement_of, traces_bytes

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
OTHERS = ("borg", "carol")


@dataclass(frozen=True)
class TimedJudge:
    """The real verifier under development keys, with the times that a log would have given."""

    logged: dict[str, datetime]
    """The time of each signature, by the content hash of its envelope."""

    @property
    def policy(self) -> IdentityPolicy:
        pem = public_pem(KEY)
        rules = tuple(
            DevKeyRule(organisation=organisation, suites=("*",), public_key_pem=pem)
            for organisation in (ORG, *OTHERS)
        )
        return IdentityPolicy(version=1, dev_keys=rules, sha256="0f" * 32)

    @property
    def rules(self) -> Rules:
        return Rules(self.policy.sha256, TRUST.sha256)

    def open(self) -> ProveFor:
        verifier = EnvelopeVerifier(TRUST, self.policy)

        def prove(envelope: bytes, traces: Path | bytes | None, organisation: str) -> Proven:
            proven = verifier.prove(envelope, organisation=organisation, traces=traces)
            verdict = proven.verdict
            signed_at = self.logged.get(verdict.content_hash or "") if verdict.ok else None
            return proven._replace(verdict=verdict.model_copy(update={"signed_at": signed_at}))

        return prove


@dataclass
class World:
    """A hub, and the clock of the log that every signature goes into."""

    hub: FolderHub
    judge: TimedJudge

    def publish(
        self, repo_id: str, files: dict[str, bytes], minute: int, *, created: int = 0
    ) -> None:
        """Publish what was signed at a minute, in a repository that was created on a day."""
        envelope = files["envelope.json"]
        self.judge.logged[content_hash(parse_envelope(envelope))] = NOON + timedelta(minutes=minute)
        created_at = NOON - timedelta(days=30 - created)
        self.hub.commit(repo_id, files, created_at=created_at)

    def taken_in(self, store: CorpusStore, order: tuple[str, ...]) -> CorpusStore:
        """Crawl ours and the others in this order, verify each time what is there, as we do."""
        for namespace in order:
            if namespace == ORG:
                crawl_source(self.hub, ORG, store)
            else:
                listed = list(self.hub.listed(namespace))
                others = [repo for repo in self.hub.heads if not repo.startswith(f"{ORG}/")]
                crawl_others(self.hub, listed, others, store)
            verify_days(store, created_days(store), self.judge)
        return store


@pytest.fixture
def world(hub: FolderHub) -> World:
    return World(hub, TimedJudge({}))


def run(run_id: str, traces: bytes | None = None, **changes: Any) -> dict[str, bytes]:
    """A record of these traces under this run id."""
    traces = traces or traces_bytes(run_id)
    envelope = build_envelope(measurement_of(run_id, traces, **changes))
    return {"envelope.json": serialise(signed(envelope)), "traces.parquet": traces}


def encoded_again(traces: bytes, run_id: str) -> bytes:
    """The same rows in another file, which says that it is of another run."""
    table = read_traces(traces)
    metadata = {**(table.schema.metadata or {}), b"inferencebench.run_id": run_id.encode()}
    with io.BytesIO() as buffer:
        pq.write_table(
            table.replace_schema_metadata(metadata), buffer, compression="zstd", row_group_size=3
        )
        return buffer.getvalue()


def repeated(store: CorpusStore) -> dict[str, str]:
    return {item.repo_id: item.detail for item in repeated_runs(store)}


def states(store: CorpusStore) -> dict[str, str]:
    board = LeaderboardStore(store.root)
    build_index(board)
    return {row.repo_id: row.state for row in load_rows(board)}


def test_one_file_of_traces_that_is_signed_four_times_counts_once(
    world: World, store: CorpusStore
) -> None:
    first = new_run_id()
    traces = traces_bytes(first)
    for number in range(4):
        run_id = first if number == 0 else new_run_id()
        again = traces if number == 0 else encoded_again(traces, run_id)
        # The repositories are created in the reverse order, which decides nothing.
        world.publish(f"{ORG}/r{number}", run(run_id, again), number, created=9 - number)
    world.taken_in(store, (ORG,))

    assert repeated(store).keys() == {f"{ORG}/r{number}" for number in (1, 2, 3)}
    assert set(repeated(store).values()) == {
        f"it repeats {ORG}/r0: its traces hold the same measurements, and that record was signed "
        "first, at 2026-11-30 12:00:00Z"
    }
    assert {(item.kind, item.severity) for item in repeated_runs(store)} == {
        (FindingKind.DUPLICATE_RUN, Severity.WARN)
    }
    assert states(store) == {
        f"{ORG}/r0": "verified", **{f"{ORG}/r{number}": "duplicate" for number in (1, 2, 3)}
    }  # fmt: skip


def test_a_run_id_is_not_taken_by_an_older_repository(world: World, store: CorpusStore) -> None:
    run_id = new_run_id()
    world.publish("borg/x", run(run_id), 5, created=20)
    other = encoded_again(traces_bytes(new_run_id()), run_id)
    world.publish("carol/y", run(run_id, other), 6, created=1)
    world.taken_in(store, OTHERS)

    assert repeated(store).keys() == {"carol/y"}
    assert states(store) == {"borg/x": "verified", "carol/y": "duplicate"}


def test_a_stranger_who_logged_first_is_first_also_before_us(
    world: World, store: CorpusStore
) -> None:
    run_id = new_run_id()
    world.publish(f"{ORG}/late", run(run_id), 9, created=1)
    world.publish("borg/early", run(run_id), 9, created=9)
    world.taken_in(store, (ORG, *OTHERS))
    # The bytes are the same, and so is the time: ours is first.
    assert repeated(store).keys() == {"borg/early"}

    other = new_run_id()
    world.publish("borg/first", run(other), 1, created=9)
    mine = run(other, encoded_again(traces_bytes(other), other))
    world.publish(f"{ORG}/second", mine, 2, created=1)
    world.taken_in(store, (ORG, *OTHERS))
    assert repeated(store).keys() == {"borg/early", f"{ORG}/second"}


def test_a_rejected_or_unsigned_copy_takes_nothing_away(world: World, store: CorpusStore) -> None:
    run_id = new_run_id()
    files = run(run_id)
    world.publish("borg/x", files, 5, created=20)
    tampered = {**files, "envelope.json": altered(files["envelope.json"], seed=7)}
    world.publish("carol/tampered", tampered, 1, created=1)
    unsigned = {**files, "envelope.json": altered(files["envelope.json"], signature=None)}
    world.hub.commit("carol/unsigned", unsigned)
    world.hub.commit("carol/traces-lost", {"envelope.json": files["envelope.json"]})
    world.taken_in(store, OTHERS)

    assert repeated(store) == {}
    assert states(store)["borg/x"] == "verified"


def test_what_has_no_traces_is_recognised_by_what_it_says(world: World, store: CorpusStore) -> None:
    bound = run(new_run_id())["envelope.json"]
    document = {**json.loads(bound), "signature": None, "distributions": {}}
    for number in range(3):
        date = f"2026-05-1{number}T10:00:00Z"
        changed = {**document, "run_id": f"bench-{number}", "timestamp": date}
        # The third one says another number.
        changed["metrics"] = {**document["metrics"], "error_rate": 0.5 if number == 2 else 0.0}
        envelope = signed(parse_envelope(json.dumps(changed).encode()))
        world.publish(f"{ORG}/r{number}", {"envelope.json": serialise(envelope)}, number)
    world.taken_in(store, (ORG,))

    ((repo_id, detail),) = repeated(store).items()
    assert repo_id == f"{ORG}/r1"
    assert "it says the same but for run id and date" in detail


def test_a_run_that_has_gone_from_the_hub_still_belongs_to_whom_it_did(
    world: World, store: CorpusStore
) -> None:
    run_id = new_run_id()
    files = run(run_id)
    world.publish("borg/x", files, 1)
    world.publish("carol/y", run(run_id, encoded_again(files["traces.parquet"], run_id)), 2)
    world.taken_in(store, OTHERS)
    world.hub.delete("borg/x")
    world.taken_in(store, OTHERS)

    assert repeated(store)["carol/y"].startswith("it repeats borg/x, which does not rank itself")
    assert states(store) == {"borg/x": "vanished", "carol/y": "duplicate"}


def test_days_are_independent_and_the_table_says_the_same(
    world: World, store: CorpusStore, hub: FolderHub
) -> None:
    run_id = new_run_id()
    for number in range(3):
        traces = traces_bytes(run_id) if number == 0 else traces_bytes(new_run_id())
        files = run(run_id, encoded_again(traces, run_id))
        world.publish(f"{ORG}/r{number}", files, number, created=number)
    world.taken_in(store, (ORG,))
    at_once = repeated(store)
    assert len(at_once) == 2
    lines = {day: store.verdicts_path(day).read_bytes() for day in created_days(store)}

    other = CorpusStore(store.root.with_name("other"))
    crawl_source(hub, ORG, other)
    for day in reversed(created_days(other)):
        verify_days(other, [day], world.judge)
        alone = DayVerdicts.load(other, day)
        assert [item.content_sha256 for item in alone.entries] == [
            item.content_sha256 for item in DayVerdicts.load(store, day).entries
        ]
    assert repeated(other) == at_once
    assert lines.keys() == set(created_days(other))

    path = write_records(store)
    assert path is not None
    table = pq.read_table(path)
    said = dict(zip(table["repo_id"].to_pylist(), table["repeats"].to_pylist(), strict=True))
    assert {repo_id: detail for repo_id, detail in said.items() if detail} == at_once
    assert repeated(store) == at_once
    kinds = dict(zip(table["repo_id"].to_pylist(), table["findings"].to_pylist(), strict=True))
    assert {repo_id for repo_id, found in kinds.items() if "duplicate_run" in (found or [])} == set(
        at_once
    )


def test_a_table_of_before_or_a_damaged_one_is_not_believed(
    world: World, store: CorpusStore
) -> None:
    run_id = new_run_id()
    world.publish("borg/x", run(run_id), 5, created=2)
    world.taken_in(store, OTHERS)
    path = write_records(store)
    assert path is not None
    assert repeated(store) == {}
    world.publish(f"{ORG}/y", run(run_id, encoded_again(traces_bytes(run_id), run_id)), 6)
    world.taken_in(store, (ORG,))
    assert repeated(store).keys() == {f"{ORG}/y"}
    path.write_bytes(b"PAR1")
    assert repeated(store).keys() == {f"{ORG}/y"}


def test_the_order_of_crawls_and_the_dates_of_repositories_decide_nothing(
    world: World, store: CorpusStore
) -> None:
    chance = dice("orders of crawls")
    for example in range(examples(2)):
        hub = FolderHub(store.root.with_name(f"hub {example}"))
        here = World(hub, TimedJudge({}))
        ids = [new_run_id() for _ in range(3)]
        published = []
        for number in range(6):
            namespace = chance.choice((ORG, *OTHERS))
            run_id, of = chance.choice(ids), chance.choice(ids)
            files = run(run_id, encoded_again(traces_bytes(of), run_id))
            published.append((f"{namespace}/r{number}", files, chance.randrange(9)))
        outcomes = []
        for turn in range(2):
            for repo_id, files, minute in published:
                here.publish(repo_id, files, minute, created=chance.randrange(20))
            place = CorpusStore(store.root.with_name(f"store {example} {turn}"))
            order = tuple(chance.sample((ORG, *OTHERS), 3))
            here.taken_in(place, order)
            outcomes.append((repeated(place), states(place)))
            for repo_id, _, _ in published:
                hub.delete(repo_id)
        assert outcomes[0] == outcomes[1]
        verified = [repo for repo, state in outcomes[0][1].items() if state == "verified"]
        assert verified
        assert outcomes[0][0].keys().isdisjoint(verified)
