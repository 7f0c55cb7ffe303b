"""The report of ``verify``: what was verified comes first, each question has an answer, and
the JSON and the page for people say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.cli.verification.check_words import QUESTIONS, sentence_of
from inferencebench_pipeline.cli.verification.exit_codes import ExitCode
from inferencebench_pipeline.cli.verification.verdict_report import VerdictReport
from inferencebench_pipeline.trust.verify import verifier
from inferencebench_pipeline.trust.verify.verdict import Check, CheckStatus
from tests.cli.verification.test_verify_and_explain import (  # noqa: F401  # fixtures
    Bench,
    Done,
    bench,
    folder,
    policy_file,
)
from tests.paths import REPOSITORY
from tests.trust.conftest import World, running_world, signed, world  # noqa: F401  # fixtures
from tests.trust.records import Signed

SCHEMA = REPOSITORY / "specs/verdict.schema.json"


@pytest.fixture
def verify(running_world: World, policy_file: Path, bench: Bench) -> Bench:  # noqa: F811
    """The command ``verify`` under the sandbox's trust root and policy."""
    trust = ("--trust-config", running_world.trust_config, "--policy", policy_file)
    return lambda *words: bench("verify", *words, *trust)


def report_of(done: Done) -> VerdictReport:
    report = VerdictReport.model_validate_json(done.stdout)
    assert report.exit_code == done.returncode
    assert report.meaning == {code.value: code.meaning for code in ExitCode}[done.returncode]
    return report


def words_of(done: Done) -> str:
    """Return the page as one line, however it was wrapped."""
    return " ".join(done.stdout.split())


def lines_of(done: Done) -> list[str]:
    return done.stdout.splitlines()


class TestSubject:
    """The first lines name what was verified."""

    def test_the_page_names_the_record_before_anything_that_was_checked(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
        signed: Signed,  # noqa: F811
    ) -> None:
        done = verify(folder)
        assert done.returncode == 0, done.stdout + done.stderr
        document = signed.document
        head = done.stdout.partition("What was signed?")[0]
        for stated in (
            document["model"]["id"],
            document["model"]["revision"],
            f"{document['engine']['name']} {document['engine']['version']}",
            document["hardware_fingerprint"]["cpu"]["model"],
            document["run_id"],
            document["dataset"]["id"],
            document["suite_id"],
            "concurrency 2",
            "TTFT p50",
            "2026-05-15 10:31:02 UTC",
            "Output throughput",
        ):
            assert stated in head, stated
        assert "not proven" not in done.stdout

    def test_the_page_says_who_signed_for_whom_when_and_under_what(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
        running_world: World,  # noqa: F811
        policy_file: Path,  # noqa: F811
    ) -> None:
        organisation = running_world.organisation
        done = verify(folder, "--organisation", organisation)
        rule = running_world.policy.signers[0]
        report = report_of(verify(folder, "--organisation", organisation, "--json"))
        assert report.signed_at is not None and report.log is not None
        for stated in (
            f"Signed by   {rule.identity}",
            f"vouched for by {rule.issuer}",
            f"For         {organisation}",
            f"not later than {report.signed_at:%Y-%m-%d %H:%M:%S} UTC",
            f"Log entry   {report.log.index}",
            report.log.log_id,
            report.trust_root.name,
            report.trust_root.sha256,
            f"{policy_file}, named by --policy",
            report.policy.sha256,
        ):
            assert stated in done.stdout, stated
        assert report.policy.sha256 == report.policy_sha256
        assert report.trust_root.sha256 == report.trust_root_sha256

    def test_the_last_line_is_the_outcome(self, verify: Bench, folder: Path) -> None:  # noqa: F811
        assert lines_of(verify(folder))[-1].startswith(
            "VERIFIED: the signature holds, and every number"
        )
        (folder / "traces.parquet").unlink()
        assert lines_of(verify(folder))[-1].startswith("INCOMPLETE: the signature holds, but")
        (folder / "envelope.json").write_bytes(b"{}")
        done = verify(folder)
        assert lines_of(done)[-1] == "REJECTED: The file is no record that can be read. (schema)"

    def test_what_a_rejected_record_says_is_called_not_proven(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
    ) -> None:
        path = folder / "envelope.json"
        path.write_text(path.read_text().replace('"seed": 42', '"seed": 43'))
        done = verify(folder)
        assert done.returncode == 1
        lines = lines_of(done)
        said = lines.index("The record says (not proven):")
        model = next(number for number, line in enumerate(lines) if line.startswith("  Model"))
        assert said + 1 == model
        assert "Signed by" not in done.stdout
        assert "VERIFIED" not in done.stdout
        assert report_of(verify(folder, "--json")).record.proven is False  # type: ignore[union-attr]

    def test_the_signer_of_a_rejected_record_stands_apart_from_its_claims(
        self,
        running_world: World,  # noqa: F811
        bench: Bench,  # noqa: F811
        folder: Path,  # noqa: F811
    ) -> None:
        rule = running_world.policy.signers[0]
        done = bench(
            "verify", folder, "--trust-config", running_world.trust_config,
            "--require-issuer", rule.issuer, "--require-identity", "mallory@example.org",
        )  # fmt: skip
        assert done.returncode == 1
        claims, _, rest = done.stdout.partition("\nThe signature:\n")
        assert "The record says (not proven):" in claims
        assert str(rule.identity) not in claims
        assert f"Signed by   {rule.identity}" in rest
        assert "Your policy does not let this signer speak." in rest

    def test_a_record_that_cannot_be_read_has_no_subject(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
    ) -> None:
        (folder / "envelope.json").write_bytes(b"{}")
        report = report_of(verify(folder, "--json"))
        assert report.record is None
        assert "Model" not in verify(folder).stdout


class TestAnswers:
    """Each question has one answer, in a person's words."""

    def test_every_check_that_a_verdict_can_list_has_words_and_a_question(self) -> None:
        worded = [name for question in QUESTIONS for name in question.checks]
        made = {
            *verifier._DOCUMENT_CHECKS,
            *verifier._KEYLESS_CHECKS,
            *verifier._DEV_KEY_CHECKS,
            *verifier._RECORD_CHECKS,
        }
        assert len(worded) == len(set(worded))
        assert made <= set(worded)
        assert set(worded) - made == {"place_agrees", "expected_record"}

    def test_the_words_of_a_check_are_sentences_that_differ(self) -> None:
        said = [
            sentence_of(Check(name=name, status=status, detail="a stranger's words"))
            for question in QUESTIONS
            for name in question.checks
            for status in (CheckStatus.PASSED, CheckStatus.FAILED)
        ]
        assert len(set(said)) == len(said)
        assert all(text[0].isupper() and text.endswith(".") for text in said)
        skipped = Check(name="schema", status=CheckStatus.SKIPPED, detail="a stranger's words")
        unknown = Check(name="new", status=CheckStatus.FAILED, detail="a stranger's words")
        assert sentence_of(skipped) == "The check schema was skipped."
        assert sentence_of(unknown) == "The check new was failed."

    def test_all_five_questions_are_answered_for_a_verified_record(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
    ) -> None:
        report = report_of(verify(folder, "--json"))
        assert [answer.question for answer in report.answers] == [
            "what", "who", "when", "where", "rederive",
        ]  # fmt: skip
        assert {answer.status for answer in report.answers} == {"passed"}
        listed = [name for answer in report.answers for name in answer.checks]
        assert sorted(listed) == sorted(check.name for check in report.checks)
        page = verify(folder).stdout
        for answer in report.answers:
            assert f"✓ {answer.asked}" in page
            assert answer.said in page

    def test_a_failed_check_is_told_in_words_with_its_detail(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
    ) -> None:
        other = folder / "traces.parquet"
        other.write_bytes(other.read_bytes()[:-1])
        report = report_of(verify(folder, "--json"))
        answer = report.answers[-1]
        assert (answer.question, answer.status) == ("rederive", "failed")
        assert answer.said.startswith(
            "The raw data is not the file that was signed. The traces' SHA-256 is "
        )
        assert "✗ Do the numbers follow?" in verify(folder).stdout


class TestTraces:
    """A record whose bound traces were not checked is no success."""

    def test_missing_traces_end_with_4_and_say_so(self, verify: Bench, folder: Path) -> None:  # noqa: F811
        (folder / "traces.parquet").unlink()
        done = verify(folder)
        assert done.returncode == 4
        assert "Not examined: traces.parquet, which the record binds, is not there." in done.stdout
        assert "as signed; not computed again" in done.stdout
        assert "VERIFIED" not in done.stdout

    def test_a_wish_for_none_is_said_and_is_no_success_either(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
    ) -> None:
        done = verify(folder, "--no-traces")
        assert done.returncode == 4
        assert "Not examined, as you asked with --no-traces." in done.stdout
        (folder / "traces.parquet").unlink()
        (folder / "traces.parquet").mkdir()
        assert verify(folder).returncode == 4

    def test_explain_ends_alike(
        self,
        running_world: World,  # noqa: F811
        policy_file: Path,  # noqa: F811
        bench: Bench,  # noqa: F811
        folder: Path,  # noqa: F811
    ) -> None:
        trust = ("--trust-config", running_world.trust_config, "--policy", policy_file)
        done = bench("explain", folder, "--no-traces", *trust)
        assert done.returncode == 4
        assert done.stdout.startswith("INCOMPLETE  traces_missing")
        assert lines_of(done)[-1].startswith("INCOMPLETE: ")


class TestExpectations:
    """A script binds the record that it asked for to the one that it got."""

    @pytest.mark.parametrize("command", ["verify", "explain"])
    def test_the_expected_record_verifies(
        self,
        command: str,
        running_world: World,  # noqa: F811
        policy_file: Path,  # noqa: F811
        bench: Bench,  # noqa: F811
        folder: Path,  # noqa: F811
        signed: Signed,  # noqa: F811
    ) -> None:
        trust = ("--trust-config", running_world.trust_config, "--policy", policy_file)
        model, run = signed.document["model"]["id"], signed.document["run_id"]
        done = bench(command, folder, *trust, "--expect-model", model, "--expect-run", run)
        assert done.returncode == 0, done.stdout
        assert "Is it the one asked for?" in done.stdout
        for wrong in (("--expect-model", "other/model"), ("--expect-run", "another")):
            done = bench(command, folder, *trust, *wrong)
            assert done.returncode == ExitCode.PLACE_DISAGREES
            assert f"and you expect {wrong[1]}" in done.stdout
            assert "VERIFIED" not in done.stdout

    def test_a_rejected_record_is_not_what_anybody_expects(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
        signed: Signed,  # noqa: F811
    ) -> None:
        (folder / "envelope.json").write_bytes(b"{}")
        report = report_of(verify(folder, "--json", "--expect-run", signed.document["run_id"]))
        assert report.exit_code == 1
        assert (report.checks[-1].name, report.checks[-1].status) == ("expected_record", "skipped")


class TestCardBeside:
    """A card that lies beside a downloaded record is compared with it."""

    def test_a_card_that_claims_another_model_is_another_record(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
        signed: Signed,  # noqa: F811
    ) -> None:
        model = signed.document["model"]["id"]
        card = folder / "README.md"
        card.write_text("---\ninferencebench:\n  model: meta-llama/Llama-3.1-405B\n---\n# fast\n")
        done = verify(folder)
        assert done.returncode == 6
        assert f"Card says model: meta-llama/Llama-3.1-405B, the record gives {model}" in words_of(
            done
        )
        assert lines_of(done)[-1].startswith("REJECTED: the record is genuine, but another one")
        assert "not proven" not in done.stdout

    def test_a_readme_that_speaks_of_no_record_is_no_card(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
    ) -> None:
        (folder / "README.md").write_text("# My project, which does 99,999 tok/s\n")
        assert verify(folder).returncode == 0


class TestForm:
    """The JSON has a schema, and the page has no colour but on a terminal."""

    def test_the_schema_that_is_shipped_is_that_of_the_report(self) -> None:
        made = json.dumps(VerdictReport.model_json_schema(), indent=2) + "\n"
        assert SCHEMA.read_text() == made, (
            "write it anew: python -m tools.verdict_schema > specs/verdict.schema.json"
        )

    def test_every_field_of_the_schema_is_described(self) -> None:
        schema: dict[str, Any] = json.loads(SCHEMA.read_text())
        for name, part in {"report": schema, **schema["$defs"]}.items():
            for field, described in part.get("properties", {}).items():
                assert described.get("description"), f"{name}.{field}"

    def test_the_report_keeps_every_field_of_the_verdict(self, verify: Bench, folder: Path) -> None:  # noqa: F811
        document = json.loads(verify(folder, "--json").stdout)
        for name in ("ok", "outcome", "reason", "checks", "signer", "log", "failure_class"):
            assert name in document

    def test_a_pipe_gets_no_colour(self, verify: Bench, folder: Path) -> None:  # noqa: F811
        for words in ((), ("--json",)):
            assert "\x1b" not in verify(folder, *words).stdout

    def test_a_narrow_terminal_breaks_no_value_to_the_first_column(
        self,
        verify: Bench,
        folder: Path,  # noqa: F811
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for columns in ("80", "60", "40", "20"):
            monkeypatch.setenv("COLUMNS", columns)
            lines = lines_of(verify(folder))
            # The terminal itself breaks an address that is longer than a line, and copies it whole.
            longer = [line for line in lines if len(line) > max(int(columns), 40)]
            assert all(len(line.split()) == 1 for line in longer), longer
            assert any(line.strip() == str(folder / "envelope.json") for line in lines)
            outermost = [line for line in lines if line and not line.startswith("  ")]
            assert [line.partition(":")[0] for line in outermost] == ["VERIFIED"]
