"""``verify --corpus`` as a reader runs it: every tampering has its outcome and its exit code."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.cli import main
from inferencebench_pipeline.cli.verification.corpus_targets import CorpusTargetError, rows_of
from inferencebench_pipeline.cli.verification.corpus_verifying import _CODES
from inferencebench_pipeline.corpus.statement.statement import STATEMENT_FILE
from inferencebench_pipeline.settings import user_data
from inferencebench_pipeline.trust.verify.corpus_comparison import CorpusDifference
from inferencebench_pipeline.trust.verify.corpus_statement import (
    STATEMENT_SUITE,
    TABLE_FILE,
    CorpusRow,
    build_statement,
)
from tests.attacks.nasty import acting
from tests.attacks.test_painting import SGR, hostile, stacks
from tests.attacks.test_painting import rows as rows_of_a_terminal
from tests.chance import dice, examples
from tests.trust.conftest import World, running_world  # noqa: F401  # a fixture

RUNS_FILE = "data/runs/created_month=2026-05/runs.parquet"
FILES = {"leaderboard.json": b"{}", RUNS_FILE: b"the runs", "data/findings.parquet": b"findings"}
NOWHERE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "HF_ENDPOINT"), "http://127.0.0.1:9")


def envelope(number: int) -> bytes:
    return b"envelope %d" % number


ROWS = [
    CorpusRow(
        repo_id=f"example-org/run-{number}",
        revision=hashlib.sha1(b"%d" % number).hexdigest(),
        created_day=f"2026-05-{10 + number}",
        run_id=f"run-{number}",
        envelope_sha256=hashlib.sha256(envelope(number)).hexdigest(),
        traces_sha256=hashlib.sha256(b"traces %d" % number).hexdigest(),
    )
    for number in range(3)
]


def write_table(folder: Path, rows: list[CorpusRow]) -> None:
    columns = {
        name: pa.array([getattr(row, name) for row in rows], pa.string())
        for name in CorpusRow._fields
    }
    pq.write_table(pa.table(columns), folder / TABLE_FILE)


def signed(world: World, **changes: Any) -> bytes:
    """A statement about the corpus of these tests, signed and logged by the sandbox."""
    rules: dict[str, Any] = {
        "organisation": world.organisation,
        "policy_sha256": world.policy.sha256,
        "trust_root_sha256": world.trust.sha256,
        "verified_at": datetime(2026, 11, 30, tzinfo=UTC),
    }
    version = changes.pop("version", 2)
    index = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    document = json.loads(build_statement(ROWS, index, **rules | changes))
    if version == 1:
        del document["predicate"]["inferencebench_corpus"]
    elif version > 2:
        document["predicate"]["inferencebench_corpus"]["version"] = version
    data = json.dumps(document).encode()
    return world.signer().sign_statement(data, suite_id=STATEMENT_SUITE)


@pytest.fixture(scope="module")
def whole(running_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A copy of the dataset of an index, as it was published."""
    folder = tmp_path_factory.mktemp("index")
    running_world.faults.clear()
    (folder / STATEMENT_FILE).write_bytes(signed(running_world))
    write_table(folder, ROWS)
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def differences(self) -> list[str]:
        return [item["difference"] for item in self.document["differences"]]


Verify = Callable[..., Done]
NO_POLICY = Path("no policy")
"""For a reader who names the signer alone."""
AS_TYPED = Path("as typed")
"""For a command line to which nothing is added."""


@pytest.fixture
def verify(
    running_world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Verify:
    """The command, offline, for a user who has never verified anything before."""
    for name in list(os.environ):
        if name.startswith(("INFERENCEBENCH", "HF_")):
            monkeypatch.delenv(name)
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    trust = running_world.trust_config
    fixed = ("--organisation", running_world.organisation, "--trust-config", trust)

    def run(*arguments: str | Path, policy: Path | None = None) -> Done:
        rules = policy or trust.with_name("policy.yaml")
        whole: tuple[str | Path, ...] = ("verify", "--corpus", *arguments)
        if policy is not AS_TYPED:
            whole += fixed if policy is NO_POLICY else (*fixed, "--policy", rules)
        monkeypatch.setattr(sys, "argv", ["inferencebench", *map(str, whole)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


def rows(change: Callable[[list[CorpusRow]], list[CorpusRow]]) -> Callable[[Path], None]:
    return lambda folder: write_table(folder, change(list(ROWS)))


def first(**changes: str | None) -> Callable[[Path], None]:
    return rows(lambda before: [before[0]._replace(**changes), *before[1:]])  # type: ignore[arg-type]


def names_swapped(before: list[CorpusRow]) -> list[CorpusRow]:
    one, two, *rest = before
    return [one._replace(repo_id=two.repo_id), two._replace(repo_id=one.repo_id), *rest]


def instead_of_the_table(*numbers: int) -> Callable[[Path], None]:
    """Put envelopes in the place of the table."""

    def change(folder: Path) -> None:
        (folder / TABLE_FILE).unlink()
        for number in numbers:
            (folder / f"run-{number}").mkdir()
            (folder / f"run-{number}/envelope.json").write_bytes(envelope(number))

    return change


def without_the_leaderboard(folder: Path) -> None:
    shutil.rmtree(folder / "data")
    (folder / "leaderboard.json").unlink()


def written(name: str, data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return write


def extra_file(folder: Path) -> None:
    more = folder / "data/runs/created_month=2099-01/runs.parquet"
    more.parent.mkdir(parents=True)
    more.write_bytes(b"a month that nobody measured")


ANOTHER = CorpusRow("example-org/more", "f" * 40, "2026-05-30", "run-9", "9" * 64, None)
TAMPERINGS: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "nothing": (lambda _folder: None, 0, "verified"),
    "the table written again": (rows(lambda before: before[::-1]), 0, "verified"),
    "names swapped": (rows(names_swapped), 8, "names_differ"),
    "a name changed": (first(repo_id="example-org/other"), 8, "names_differ"),
    "a revision changed": (first(revision="0" * 40), 8, "revisions_differ"),
    "a day changed": (first(created_day="2020-01-01"), 8, "days_differ"),
    "a run id changed": (first(run_id="another"), 8, "run_ids_differ"),
    "a traces digest changed": (first(traces_sha256="0" * 64), 8, "traces_differ"),
    "a traces digest taken away": (first(traces_sha256=None), 8, "traces_differ"),
    "a row left out": (rows(lambda before: before[1:]), 7, "rows_left_out"),
    "a row added": (rows(lambda before: [*before, ANOTHER]), 7, "rows_added"),
    "a row twice": (rows(lambda before: [*before, before[0]]), 7, "rows_added"),
    "an envelope changed": (first(envelope_sha256="0" * 64), 7, "rows_left_out"),
    "an empty table": (rows(lambda _before: []), 9, "empty"),
    "no table and no envelope": (instead_of_the_table(), 9, "empty"),
    "the envelopes instead": (instead_of_the_table(0, 1, 2), 0, "verified"),
    "some of the envelopes": (instead_of_the_table(0, 2), 4, "records_missing"),
    "another envelope": (instead_of_the_table(0, 1, 2, 3), 7, "rows_added"),
    "a partition changed": (
        written(RUNS_FILE, b"The runs"),
        11,
        "index_differs",
    ),
    "a partition left out": (lambda folder: (folder / RUNS_FILE).unlink(), 11, "index_differs"),
    "a partition added": (extra_file, 11, "index_differs"),
    "the document changed": (
        written("leaderboard.json", b"[]"),
        11,
        "index_differs",
    ),
    "a copy without the leaderboard": (without_the_leaderboard, 4, "index_missing"),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_each_tampering_has_an_outcome_and_an_exit_code(
    copy: Path, verify: Verify, tampering: str
) -> None:
    change, code, outcome = TAMPERINGS[tampering]
    change(copy)

    done = verify(copy, "--json")

    assert (done.code, done.document["outcome"]) == (code, outcome), done.out
    assert done.document["ok"] == (code == 0)
    assert done.document["exit_code"] == code
    assert done.document["reason"]


def test_every_difference_has_an_exit_code_that_is_no_success() -> None:
    assert set(_CODES) == set(CorpusDifference)
    assert all(_CODES.values())


def test_the_sentences_name_the_statement_the_rules_and_the_outcome(
    copy: Path,
    verify: Verify,
    running_world: World,  # noqa: F811
) -> None:
    done = verify(copy)
    assert done.out.splitlines()[-1] == (
        "VERIFIED: 3 results and 3 files of the leaderboard, just as the signed statement says."
    )
    rule = running_world.policy.signers[0]
    for stated in (
        f"  Signed by   {rule.identity}",
        "  Trust root  named by --trust-config",
        f"  sha256      {running_world.trust.sha256}",
        f"  sha256      {running_world.policy.sha256}",
    ):
        assert stated in done.out
    assert done.out.count("the records were judged under the same") == 2

    TAMPERINGS["names swapped"][0](copy)
    done = verify(copy)
    assert done.out.splitlines()[-1] == (
        "NAMES DIFFER: records stand under other names than in the signed statement."
    )
    assert "example-org/run-1 instead of example-org/run-0" in done.out


def test_everything_that_differs_is_listed_and_the_most_serious_decides(
    copy: Path, verify: Verify
) -> None:
    for tampering in ("a partition changed", "a revision changed"):
        TAMPERINGS[tampering][0](copy)
    done = verify(copy, "--json")
    assert (done.code, done.differences) == (8, ["revisions_differ", "index_differs"])
    assert set(done.document["trust_root"]) > {"name", "sha256", "age_days", "old"}
    assert set(done.document["policy"]) == {"name", "sha256"}


def test_edits_of_a_table_are_never_taken_for_the_table(copy: Path, verify: Verify) -> None:
    rolls = dice("edits of a published table")
    for _ in range(examples(40)):
        edited = list(ROWS)
        at, column = rolls.randrange(len(edited)), rolls.choice(CorpusRow._fields)
        value = rolls.choice(("", "x", "0" * 64, getattr(rolls.choice(ROWS), column)))
        edited[at] = edited[at]._replace(**{column: value})
        write_table(copy, edited)
        done = verify(copy, "--json")
        assert (done.code == 0) == (edited == ROWS), (edited, done.out)
        assert done.code in (0, 7, 8)


def test_an_older_statement_verifies_and_says_what_it_does_not_bind(
    copy: Path,
    verify: Verify,
    running_world: World,  # noqa: F811
) -> None:
    (copy / STATEMENT_FILE).write_bytes(signed(running_world, version=1))
    done = verify(copy, "--json")
    assert (done.code, done.document["statement_version"]) == (0, 1)
    assert done.document["not_bound"] == [
        "revision", "created_day", "run_id", "traces_sha256", "index",
    ]  # fmt: skip
    assert "is of version 1 and binds envelopes and a repository for each" in done.out

    TAMPERINGS["names swapped"][0](copy)
    assert verify(copy).code == 8


def test_a_later_form_of_statement_asks_for_a_later_verifier(
    copy: Path,
    verify: Verify,
    running_world: World,  # noqa: F811
) -> None:
    (copy / STATEMENT_FILE).write_bytes(signed(running_world, version=3))
    done = verify(copy, "--json")
    assert (done.code, done.document["outcome"]) == (5, "newer")
    assert "use a later release" in done.document["reason"]


def test_an_old_statement_shown_again_is_noticed_by_who_has_seen_a_later_one(
    copy: Path,
    verify: Verify,
    running_world: World,  # noqa: F811
) -> None:
    old = (copy / STATEMENT_FILE).read_bytes()
    newer = signed(running_world, verified_at=datetime(2026, 12, 1, tzinfo=UTC))
    assert verify(copy).code == 0
    (copy / STATEMENT_FILE).write_bytes(newer)
    assert verify(copy).code == 0
    assert verify(copy).code == 0, "the newest one itself may be seen twice"

    (copy / STATEMENT_FILE).write_bytes(old)
    done = verify(copy, "--json")
    assert (done.code, done.document["outcome"]) == (10, "older_than_seen")
    assert "--accept-older" in done.document["reason"]

    accepted = verify(copy, "--accept-older", "--json")
    assert (accepted.code, accepted.document["accepted"][0]["difference"]) == (
        0,
        "older_than_seen",
    )
    assert verify(copy).code == 10, "what was accepted once does not become the newest"
    assert len(list((user_data() / "statements").iterdir())) == 1


def test_what_is_remembered_and_cannot_be_read_is_no_reason_to_go_on(
    copy: Path, verify: Verify
) -> None:
    verify(copy)
    (kept,) = (user_data() / "statements").iterdir()
    kept.write_bytes(b"{")
    done = verify(copy)
    assert done.code == 2
    assert "delete it to begin anew" in done.err


def test_a_statement_made_under_other_rules_is_not_the_readers(
    copy: Path,
    verify: Verify,
    running_world: World,  # noqa: F811
    tmp_path: Path,
) -> None:
    ours = running_world.trust_config.with_name("policy.yaml")
    other = tmp_path / "other.yaml"
    other.write_bytes(ours.read_bytes() + b"# reviewed\n")

    done = verify(copy, "--json", policy=other)
    assert (done.code, done.document["outcome"]) == (10, "other_policy")
    assert "--accept-other-rules" in done.document["reason"]
    assert verify(copy, "--accept-other-rules", policy=other).code == 0

    (copy / STATEMENT_FILE).write_bytes(signed(running_world, trust_root_sha256="0" * 64))
    assert verify(copy, "--json").differences == ["other_trust_root"]


def test_a_reader_without_a_policy_is_told_that_theirs_was_not_compared_and_how_to_go_on(
    copy: Path,
    verify: Verify,
    running_world: World,  # noqa: F811
) -> None:
    rule = running_world.policy.signers[0]
    issuer = ("--certificate-oidc-issuer", rule.issuer)
    signer = ("--certificate-identity", str(rule.identity), *issuer)
    digest = running_world.policy.sha256

    done = verify(copy, *signer, policy=NO_POLICY)
    assert done.code == 10
    assert done.out.splitlines()[-1].startswith("OTHER POLICY: the records were judged ")
    said = f"{running_world.organisation}'s own policy {digest}, which you have not compared"
    assert said in " ".join(done.out.split())
    printed = [part for part in done.out.split("\n\n") if "inferencebench verify" in part]
    commands = [shlex.split(part.partition(":\n")[2].replace("\\\n", "")) for part in printed]
    assert [command[-2:] for command in commands] == [
        ["--policy-from", f"hf://datasets/{running_world.organisation}/inferencebench-policy"],
        [str(running_world.trust_config), "--accept-other-rules"],
    ]
    document = verify(copy, *signer, "--json", policy=NO_POLICY).document
    stated = [shlex.split(line.replace(" --json", "")) for line in document["go_on"].values()]
    assert stated == commands

    # What was printed works as printed, and still says what was taken on trust.
    accepted = verify(*commands[1][3:], policy=AS_TYPED)
    assert accepted.code == 0, accepted.out + accepted.err
    assert said in " ".join(accepted.out.split())
    last = accepted.out.splitlines()[-1]
    assert last.startswith("VERIFIED: 3 results") and "Accepted: the records were judged" in last


def test_a_wrong_signer_or_a_broken_bundle_is_a_rejection(copy: Path, verify: Verify) -> None:
    done = verify(copy, "--json", "--owner", "somebody-else")
    assert (done.code, done.document["outcome"]) == (1, "rejected")
    (copy / STATEMENT_FILE).write_bytes(b'{"mediaType": 1, "mediaType": 2}')
    done = verify(copy, "--json")
    assert (done.code, done.document["outcome"]) == (1, "rejected")


def test_no_text_of_a_table_acts_on_the_terminal(copy: Path, verify: Verify) -> None:
    evil = "x/y\x1b[2J\x1b[1;1H\nVERIFIED: 3 results\u202e"
    rows(lambda before: [*before, ANOTHER._replace(repo_id=evil)])(copy)
    for arguments in ((), ("--json",)):
        done = verify(copy, *arguments)
        assert done.code == 7
        assert done.out.replace("\n", "").isprintable()
        assert not any(line.startswith("VERIFIED") for line in done.out.splitlines())


def hostile_names(folder: Path, chance: random.Random) -> None:
    """Fill every cell of the table, and names of files, with what tries to look like our lines."""
    changed = []
    for row in ROWS:
        cells = {
            name: hostile(chance)[:900]
            for name in CorpusRow._fields
            if name not in {"envelope_sha256"} and chance.random() < 0.7
        }
        changed.append(row._replace(**cells))
    more = [ANOTHER._replace(repo_id=hostile(chance)[:900]) for _ in range(chance.randrange(3))]
    write_table(folder, [*changed, *more])
    for _ in range(3):
        name = hostile(chance).replace("/", "").replace("\0", "")[:60] or "x"
        (folder / "data" / name).write_bytes(b"a file that nobody stated")


@pytest.mark.parametrize("number", range(examples(12)))
@pytest.mark.parametrize("colour", [False, True], ids=["piped", "on a terminal"])
def test_hostile_names_of_a_corpus_are_shown_as_text(
    copy: Path,
    verify: Verify,
    running_world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    colour: bool,
) -> None:
    chance = dice(f"hostile corpus {number} {colour}")
    hostile_names(copy, chance)
    columns = chance.choice((40, 60, 80, 120))
    monkeypatch.setenv("COLUMNS", str(columns))
    if colour:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
    trust = running_world.trust_config
    rules: tuple[str | Path, ...] = ("--trust-config", trust, "--owner", "acme")
    another = ("--organisation", f"x{hostile(chance)}".replace("\0", ""), *rules)
    for arguments in ((), ("--json",), another):
        done = verify(copy, *arguments, policy=AS_TYPED if arguments == another else None)
        assert done.code in (1, 2, 7, 8, 11)
        for text in (SGR.sub("", done.out), SGR.sub("", done.err)):
            assert not acting(text)
            assert not stacks(text)
            if "--json" in arguments:
                continue
            for row in rows_of_a_terminal(text, columns):
                assert not row.startswith(("VERIFIED", "✓", "✗"))
    assert len(done.err) < 20_000


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"repo_id": ["a"]}, "it has no column envelope_sha256"),
        ({"repo_id": ["a"], "envelope_sha256": [1]}, "holds int64, and no texts"),
        ({"repo_id": [b"a"], "envelope_sha256": ["x"]}, "column repo_id holds .*, and no texts"),
        (
            {"repo_id": ["a"], "envelope_sha256": ["x"], "tokens_per_s": [99_999.0]},
            "no statement covers its column tokens_per_s",
        ),
        (
            {"repo_id": ["a"], "envelope_sha256": ["x"], "Repo_id": ["another"]},
            "no statement covers its column Repo_id",
        ),
        ({"repo_id": ["a"], "envelope_sha256": ["x" * 2000]}, "a text of 2000 bytes"),
        ({"repo_id": [None, "a"], "envelope_sha256": ["x", "y"]}, "no repository or no envelope"),
    ],
)
def test_a_table_that_is_none_is_refused(
    tmp_path: Path, columns: dict[str, list[object]], said: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / TABLE_FILE)
    with pytest.raises(CorpusTargetError, match=said):
        rows_of((tmp_path / TABLE_FILE).read_bytes())


def test_a_column_without_any_value_is_read(tmp_path: Path) -> None:
    """Earlier releases wrote one so, where no record had traces."""
    table = {"repo_id": ["a"], "envelope_sha256": ["x"], "traces_sha256": pa.array([None])}
    pq.write_table(pa.table(table), tmp_path / TABLE_FILE)
    (row,) = rows_of((tmp_path / TABLE_FILE).read_bytes())
    assert (row.repo_id, row.traces_sha256, row.run_id) == ("a", None, None)


def test_what_unpacks_to_more_than_memory_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    values = pa.array(["x" * (70 << 20)])
    pq.write_table(
        pa.table({"repo_id": values, "envelope_sha256": values}), tmp_path / "t", compression="zstd"
    )
    data = (tmp_path / "t").read_bytes()
    assert len(data) < 100_000
    with pytest.raises(CorpusTargetError, match="cannot be read"):
        rows_of(data)
    with pytest.raises(CorpusTargetError, match="cannot be read"):
        rows_of(b"PAR1 and no more")
