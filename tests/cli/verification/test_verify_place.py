"""``verify hf://…``: the repository's name and its card are held against the record in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inferencebench_pipeline.cli import targets
from inferencebench_pipeline.cli.targets import resolve
from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.envelope.reading import ReadEnvelope
from inferencebench_pipeline.hub.client.client import Hub, HubIntegrityError, Repo
from inferencebench_pipeline.hub.dataset.card import render_card
from inferencebench_pipeline.hub.dataset.naming import dataset_name
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.process import running_sandbox
from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.sign.identity_token import file_identity
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from inferencebench_pipeline.trust.sign.signer import SigstoreSigner
from inferencebench_pipeline.trust.verify.policy import load_policy
from inferencebench_pipeline.trust.verify.verdict import Verdict
from inferencebench_pipeline.trust.verify.verifier import verify_envelope
from tests.cli.verification.test_verdict_report import report_of, words_of
from tests.cli.verification.test_verify_and_explain import Bench, Done, bench  # noqa: F401  # fixture
from tests.envelope.measured import write_measured

ENVELOPE, TRACES, CARD = "envelope.json", "traces.parquet", "README.md"


@dataclass(frozen=True)
class Place:
    """A Hub on loopback, and a genuine record with its card, as its publisher would commit them."""

    environ: dict[str, str]
    organisation: str
    name: str
    files: dict[str, bytes]

    def put(self, name: str, **changes: bytes | None) -> str:
        """Commit the record under a name, with files changed or left out; return its target."""
        token = Path(self.environ["HF_TOKEN_PATH"]).read_text().strip()
        hub = Hub(self.environ["HF_ENDPOINT"], lambda: token)
        repo = Repo("dataset", f"{self.organisation}/{name}")
        hub.create(repo)
        files = {**self.files, **{key.replace("_", "."): data for key, data in changes.items()}}
        there = {key: data for key, data in files.items() if data is not None}
        hub.commit(repo, there, message="a record", parent=hub.head(repo).commit)
        return f"hf://datasets/{repo.id}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with (
        pytest.MonkeyPatch.context() as patch,
        running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox,
    ):
        patch.setenv("NO_PROXY", "127.0.0.1")
        environ = dict(sandbox.environ)
        trust = load_trust(Path(environ["INFERENCEBENCH_TRUST_CONFIG"]))
        policy = load_policy(Path(environ["INFERENCEBENCH_POLICY"]))
        organisation = environ["INFERENCEBENCH_ORGANISATION"]

        def verify(data: bytes, traces: bytes | None) -> Verdict:
            return verify_envelope(
                data, trust=trust, policy=policy, organisation=organisation, traces=traces
            )

        run = RunStore(tmp_path_factory.mktemp("signed")).run(new_run_id())
        run.path.mkdir(parents=True)
        write_measured(run)
        identity = file_identity(Path(environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"]))
        signer = SigstoreSigner(
            trust=trust, identity=identity, policy=policy, organisation=organisation
        )
        verdict = sign_run(run, signer, verify=verify)
        read = ReadEnvelope(parse_envelope(run.read(RunFile.ENVELOPE)))
        name = dataset_name(read.envelope)
        card = render_card(
            read,
            f"{organisation}/{name}",
            signer=verdict.signer,
            endpoint=environ["HF_ENDPOINT"],
        )
        files = {ENVELOPE: run.read(RunFile.ENVELOPE), TRACES: run.read(RunFile.TRACES), CARD: card}
        yield Place(environ, organisation, name, files)


@pytest.fixture
def verify(place: Place, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:  # noqa: F811
    monkeypatch.delenv("HTTP_PROXY")
    for name in ("HF_ENDPOINT", "INFERENCEBENCH_TRUST_CONFIG", "INFERENCEBENCH_POLICY"):
        monkeypatch.setenv(name, place.environ[name])
    assert "HF_TOKEN_PATH" not in os.environ
    return lambda *words: bench("verify", *words)


def test_a_record_where_it_belongs_verifies_with_its_card(
    place: Place, verify: Callable[..., Done]
) -> None:
    done = verify(place.put(place.name))
    assert done.returncode == 0, done.stdout + done.stderr
    said = "The repository's name and the card claim nothing else."
    assert f"✓ Is it the one asked for? {said}" in words_of(done)
    assert f"For {place.organisation}" in words_of(done)


def test_a_record_under_the_name_of_another_is_another_record(
    place: Place, verify: Callable[..., Done]
) -> None:
    done = verify(place.put("llama-405b-h100-2026-11", README_md=None))
    assert done.returncode == 6
    said = words_of(done)
    assert "The repository's name or its card says another thing than the record." in said
    assert "not of a model of 405b" in said
    assert "VERIFIED" not in said
    assert "not proven" not in said


def test_a_card_with_other_numbers_is_another_record(
    place: Place, verify: Callable[..., Done]
) -> None:
    card = place.files[CARD].replace(b"\n## ", b"\nIt gives 99,999 tok/s.\n\n## ", 1)
    target = place.put(place.name, README_md=card)
    report = report_of(verify(target, "--json"))
    assert (report.exit_code, report.failure_class) == (6, "place_disagrees")
    assert "99,999 tok/s" in report.reason


def test_what_a_card_leaves_out_is_said(place: Place, verify: Callable[..., Done]) -> None:
    done = verify(place.put(place.name, README_md=b"---\nlicense: mit\n---\n# fast\n"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the card has no block `inferencebench`" in words_of(done)


def test_a_card_that_is_not_there_is_said(place: Place, verify: Callable[..., Done]) -> None:
    done = verify(place.put("plain", README_md=None))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "there is no card (README.md) to compare" in words_of(done)


def test_a_card_that_cannot_be_read_is_no_card_of_the_record(
    place: Place, verify: Callable[..., Done]
) -> None:
    done = verify(place.put("large", README_md=b"# x\n" * (1 << 18) + b"more"))
    assert done.returncode == 6
    assert "the card has 1048580 bytes" in words_of(done).replace("The", "the")


def test_traces_that_the_repository_lacks_make_it_incomplete(
    place: Place, verify: Callable[..., Done]
) -> None:
    target = place.put("no-traces", traces_parquet=None)
    done = verify(target)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "traces.parquet, which the record binds, is not there." in words_of(done)


def test_a_name_and_missing_traces_together_are_another_record(
    place: Place, verify: Callable[..., Done]
) -> None:
    target = place.put("llama-70b", traces_parquet=None, README_md=None)
    assert verify(target).returncode == 6


def test_without_traces_none_are_fetched(place: Place, verify: Callable[..., Done]) -> None:
    report = report_of(verify(place.put(place.name), "--no-traces", "--json"))
    assert (report.exit_code, report.outcome) == (4, "incomplete")


def test_a_rejected_record_is_not_compared_with_its_place(
    place: Place, verify: Callable[..., Done]
) -> None:
    changed = place.files[ENVELOPE].replace(b'"seed": 42', b'"seed": 43')
    report = report_of(verify(place.put("llama-8b", envelope_json=changed), "--json"))
    assert report.exit_code == 1
    assert (report.checks[-1].name, report.checks[-1].status) == ("place_agrees", "skipped")


def test_the_traces_of_a_target_on_the_hub_are_a_file_and_not_memory(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hub() -> Hub:
        return Hub(place.environ["HF_ENDPOINT"], lambda: None)

    monkeypatch.delenv("HTTP_PROXY", raising=False)
    target = place.put("downloaded")
    found = resolve(target, hub)
    assert found.traces is not None
    assert found.traces.read_bytes() == place.files[TRACES]
    assert resolve(target, hub, traces=False).traces is None
    assert resolve(place.put("bare", traces_parquet=None), hub).traces is None

    monkeypatch.setattr(targets, "MOST_FILE_BYTES", len(place.files[TRACES]) - 1)
    with pytest.raises(HubIntegrityError, match="larger than"):
        resolve(target, hub)
