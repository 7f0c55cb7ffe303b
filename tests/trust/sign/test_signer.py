"""Signing against real services, and what happens when one of them is down, slow or wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from inferencebench_pipeline.envelope.build import write_envelope
from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope, serialise
from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.measure.metrics.validity_flags import ValidityFlag
from inferencebench_pipeline.runs.run_directory import (
    DamagedRunFileError,
    RunDirectory,
    RunFile,
    RunStore,
    new_run_id,
)
from inferencebench_pipeline.trust.errors import (
    IdentityTokenError,
    SigningRefusedError,
    SigningUnavailableError,
    TrustConfigError,
)
from inferencebench_pipeline.trust.root.trust_root import parse_trust
from inferencebench_pipeline.trust.sign.identity_token import ambient_identity, file_identity
from inferencebench_pipeline.trust.sign.run_signature import sign_run, sign_runs
from inferencebench_pipeline.trust.sign.services import SigningDeadlines
from inferencebench_pipeline.trust.sign.signer import SigstoreSigner
from inferencebench_pipeline.trust.verify.bundle import parse_bundle, verify_statement
from inferencebench_pipeline.trust.verify.verdict import FailureClass, Outcome
from tests.envelope.measured import measure_otherwise, write_measured
from tests.trust.conftest import World

FULCIO = "/api/v2/signingCert"
TSA = "/api/v1/timestamp"
REKOR = "/log/entries"
SERVICES = pytest.mark.parametrize(
    ("path", "named"),
    [
        (FULCIO, "certificate authority"),
        (TSA, "timestamp authority"),
        (REKOR, "transparency log"),
    ],
    ids=["fulcio", "tsa", "rekor"],
)
HASTY = SigningDeadlines(connect_s=2.0, answer_s=0.5)


def sign(world: World, run: RunDirectory, **settings: Any) -> Any:
    return sign_run(run, world.signer(**settings), verify=world.verify)


@pytest.mark.parametrize("version", [None, 1, 2])
def test_a_signed_run_verifies_offline(
    world: World, run: RunDirectory, version: int | None
) -> None:
    verdict = sign(world, run, rekor_version=version)
    assert verdict.ok, verdict.reason
    assert verdict == world.verify(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES))
    assert {check.status for check in verdict.checks} == {"passed"}
    signed = parse_envelope(run.read(RunFile.ENVELOPE))
    assert content_hash(signed) == content_hash(parse_envelope(run.read(RunFile.UNSIGNED_ENVELOPE)))
    assert signed.signature is not None
    assert verdict.log is not None
    assert signed.signature.rekor_log_index == verdict.log.index
    assert (verdict.log.integrated_time is not None) == (version == 1)
    assert (verdict.log.url is not None) == (version == 1)
    assert serialise(signed) == run.read(RunFile.ENVELOPE)


def test_without_its_traces_a_record_is_incomplete_though_its_signature_holds(
    world: World, run: RunDirectory
) -> None:
    sign(world, run)
    verdict = world.verify(run.read(RunFile.ENVELOPE), None)
    assert (verdict.ok, verdict.outcome, verdict.failure_class) == (
        False,
        Outcome.INCOMPLETE,
        FailureClass.TRACES_MISSING,
    )
    assert verdict.signature_holds
    assert "binds traces.parquet, which was not there" in verdict.reason
    assert world.verify(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES)).ok
    skipped = {check.name for check in verdict.checks if check.status == "skipped"}
    assert skipped == {"traces_hash", "traces_readable", "traces_agree", "metrics_rederive"}


def test_signing_again_keeps_the_bytes_and_makes_no_second_log_entry(
    world: World, run: RunDirectory
) -> None:
    first = sign(world, run)
    stored = run.read(RunFile.ENVELOPE)
    assert sign(world, run) == first
    assert run.read(RunFile.ENVELOPE) == stored
    assert world.log_writes() == 1


def test_what_is_signed_is_never_signed_again_with_another_statement(
    world: World, run: RunDirectory
) -> None:
    sign(world, run)
    before = run.read(RunFile.ENVELOPE)
    measure_otherwise(run)
    for _ in range(2):
        with pytest.raises(SigningRefusedError, match=r"signed already.*workload_hash was"):
            sign(world, run)
    assert run.read(RunFile.ENVELOPE) == before
    assert world.log_writes() == 1


def test_another_version_of_the_program_states_the_same(
    world: World, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(world, run)
    before = run.read(RunFile.ENVELOPE)
    monkeypatch.setattr("inferencebench_pipeline.envelope.build.__version__", "99.0")
    write_envelope(run)
    assert sign(world, run).ok
    assert run.read(RunFile.ENVELOPE) == before


def test_an_unsigned_envelope_that_the_measurement_does_not_give_is_not_signed(
    world: World, run: RunDirectory
) -> None:
    unsigned = run.read(RunFile.UNSIGNED_ENVELOPE)
    run.write(RunFile.UNSIGNED_ENVELOPE, unsigned.replace(b"example/tiny", b"example/vast"))
    with pytest.raises(SigningRefusedError, match=r"unsigned\.json is not what measurement\.json"):
        sign(world, run)
    assert world.log_writes() == 0


@pytest.mark.parametrize(
    "name", [RunFile.TRACES, RunFile.MEASUREMENT, RunFile.UNSIGNED_ENVELOPE, RunFile.DIGESTS]
)
def test_a_changed_byte_in_any_file_is_named_and_nothing_is_signed(
    world: World, run: RunDirectory, name: RunFile
) -> None:
    data = bytearray(run.read(name))
    data[len(data) // 2] ^= 1
    run.file(name).write_bytes(data)
    with pytest.raises(DamagedRunFileError, match=re.escape(name.value)):
        sign(world, run)
    assert world.log_writes() == 0


def test_a_measurement_that_is_flagged_as_invalid_is_not_signed(
    world: World, run: RunDirectory
) -> None:
    wrong = ValidityFlag(name="requests_complete", ok=False, severity="error", detail="3 of 12")
    write_measured(run, validity=(wrong,))
    with pytest.raises(SigningRefusedError, match="not valid: requests_complete: 3 of 12"):
        sign(world, run)
    assert world.log_writes() == 0


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json"])
def test_a_damaged_signed_file_is_replaced(world: World, run: RunDirectory, damage: bytes) -> None:
    run.file(RunFile.ENVELOPE).write_bytes(damage)
    assert sign(world, run).ok
    assert world.verify(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES)).ok


def test_metrics_that_do_not_follow_from_the_traces_are_not_signed(
    world: World, run: RunDirectory
) -> None:
    document = json.loads(run.read(RunFile.UNSIGNED_ENVELOPE))
    document["metrics"]["ttft_p50_ms"] = 1.0
    run.write(RunFile.UNSIGNED_ENVELOPE, json.dumps(document).encode())
    with pytest.raises(SigningRefusedError, match=r"ttft_p50_ms is stated as 1\.0"):
        sign(world, run)
    assert world.log_writes() == 0
    assert not run.has(RunFile.ENVELOPE)


def test_an_identity_the_policy_does_not_allow_is_refused_before_anything_is_logged(
    world: World, run: RunDirectory
) -> None:
    before = world.log_sizes()
    with pytest.raises(SigningRefusedError, match=r"mallory@example\.org .* may not sign"):
        sign(world, run, identity=world.identity("mallory@example.org"))
    assert world.log_sizes() == before
    assert not run.has(RunFile.SIGNATURE)
    assert not run.has(RunFile.ENVELOPE)


def test_without_a_timestamp_authority_nothing_is_signed(world: World, run: RunDirectory) -> None:
    document = json.loads(world.trust_config.read_text())
    document["signingConfig"]["tsaUrls"] = []
    trust = parse_trust(json.dumps(document).encode(), where="no clock")
    bare = dataclasses.replace(world, trust=trust)
    for version in (1, 2):
        with pytest.raises(SigningRefusedError, match="names no timestamp authority"):
            sign_run(run, bare.signer(rekor_version=version), verify=world.verify)
    assert world.log_writes() == 0


def test_an_envelope_is_signed_once(world: World, run: RunDirectory) -> None:
    signer = world.signer()
    signed = signer.sign(parse_envelope(run.read(RunFile.UNSIGNED_ENVELOPE)))
    with pytest.raises(SigningRefusedError, match="already signed"):
        signer.sign(signed)


def assert_waits_and_then_finishes(
    world: World, run: RunDirectory, error: type[Exception], match: str, **settings: Any
) -> None:
    unsigned = run.read(RunFile.UNSIGNED_ENVELOPE)
    with pytest.raises(error, match=match) as caught:
        sign(world, run, **settings)
    assert isinstance(caught.value, RetryableError)
    assert run.read(RunFile.UNSIGNED_ENVELOPE) == unsigned
    assert not run.has(RunFile.ENVELOPE)
    world.faults.clear()
    assert sign(world, run).ok


@SERVICES
def test_an_outage_says_who_is_down_in_its_own_words_and_when_to_come_back(
    world: World, run: RunDirectory, path: str, named: str
) -> None:
    world.faults.add(
        "status",
        path=path,
        times=None,
        status=503,
        body=json.dumps({"code": 14, "message": "down for maintenance"}),
        headers={"Retry-After": "17"},
    )
    with pytest.raises(SigningUnavailableError) as caught:
        sign(world, run)
    assert caught.value.retry_after_s == 17.0
    assert_waits_and_then_finishes(
        world, run, SigningUnavailableError, rf"{named} http.* answered 503: down for maintenance"
    )


@SERVICES
def test_a_service_that_hangs_is_given_up_at_the_deadline(
    world: World, run: RunDirectory, path: str, named: str
) -> None:
    world.faults.add("delay", path=path, times=None, delay_s=2.5)
    assert_waits_and_then_finishes(
        world, run, SigningUnavailableError, rf"{named} http.*could not be reached", deadlines=HASTY
    )


@SERVICES
def test_a_connection_that_breaks_is_an_outage(
    world: World, run: RunDirectory, path: str, named: str
) -> None:
    world.faults.add("drop", path=path, times=None)
    assert_waits_and_then_finishes(
        world, run, SigningUnavailableError, rf"{named} http.*could not be reached"
    )


@SERVICES
def test_nonsense_with_status_200_is_an_outage(
    world: World, run: RunDirectory, path: str, named: str
) -> None:
    world.faults.add("status", path=path, times=None, status=200, body="<html>welcome</html>")
    assert_waits_and_then_finishes(
        world, run, SigningUnavailableError, rf"{named} http.*an answer that cannot be used"
    )


@SERVICES
def test_a_refusal_is_permanent_and_in_the_servers_words(
    world: World, run: RunDirectory, path: str, named: str
) -> None:
    world.faults.add(
        "status", path=path, times=None, status=403, body='{"code":7,"message":"not on the list"}'
    )
    with pytest.raises(SigningRefusedError, match=rf"{named} http.* answered 403: not on the list"):
        sign(world, run)
    assert not run.has(RunFile.ENVELOPE)


@pytest.mark.parametrize("path", [FULCIO, TSA], ids=["fulcio", "tsa"])
def test_one_lost_answer_of_a_repeatable_service_is_asked_for_again(
    world: World, run: RunDirectory, path: str
) -> None:
    world.faults.add("lost_response", path=path)
    assert sign(world, run).ok
    assert world.log_writes() == 1


@pytest.mark.parametrize("version", [1, 2])
def test_a_lost_answer_of_the_log_is_asked_for_again_and_the_entry_recognised(
    world: World, run: RunDirectory, version: int
) -> None:
    before = world.log_sizes()[version]
    world.faults.add("lost_response", path=REKOR)
    assert sign(world, run, rekor_version=version).ok
    assert world.log_sizes()[version] == before + 1


def test_without_a_timestamp_nothing_is_logged(world: World, run: RunDirectory) -> None:
    for version in (1, 2):
        world.faults.add("status", path=TSA, times=None, status=500)
        with pytest.raises(SigningUnavailableError, match="timestamp authority"):
            sign(world, run, rekor_version=version)
    assert world.log_writes() == 0


@pytest.mark.drawn
@SERVICES
@pytest.mark.parametrize("version", [1, 2])
def test_a_corrupted_answer_is_never_kept(
    world: World, run: RunDirectory, path: str, named: str, version: int
) -> None:
    world.faults.add("corrupt", path=path, times=None)
    # What a bit flip hits is chance; part of Fulcio's answer is not used and not kept either.
    with contextlib.suppress(SigningRefusedError, SigningUnavailableError):
        sign(world, run, rekor_version=version)
    world.faults.clear()
    if run.has(RunFile.ENVELOPE):
        assert path == FULCIO
        assert world.verify(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES)).ok


def test_services_that_the_trust_root_does_not_cover_are_refused(
    world: World, run: RunDirectory, tmp_path: Path
) -> None:
    document = json.loads(world.trust_config.read_text())
    for item in document["trustedRoot"]["tlogs"]:
        item["publicKey"] = document["trustedRoot"]["tlogs"][0]["publicKey"]
    confused = parse_trust(json.dumps(document).encode(), where="a mixed-up file")
    other = dataclasses.replace(world, trust=confused)
    with pytest.raises(SigningRefusedError, match=r"does not verify .*mixed-up file belongs"):
        sign_run(run, other.signer(rekor_version=2), verify=world.verify)
    assert not run.has(RunFile.ENVELOPE)


def test_nobody_listening_is_an_outage(world: World, run: RunDirectory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = world.trust_config.read_text().replace(world.url, f"http://127.0.0.1:{port}")
    gone = dataclasses.replace(world, trust=parse_trust(text.encode(), where="the test"))
    with pytest.raises(
        SigningUnavailableError, match=r"certificate authority .*could not be reach"
    ):
        sign_run(run, gone.signer(), verify=world.verify)


def test_an_answer_that_never_ends_is_cut_off(world: World, run: RunDirectory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        text = world.trust_config.read_text().replace(
            world.url, f"http://127.0.0.1:{server.getsockname()[1]}"
        )
        dripping = dataclasses.replace(world, trust=parse_trust(text.encode(), where="the test"))
        with pytest.raises(SigningUnavailableError, match="no whole answer within"):
            sign_run(run, dripping.signer(deadlines=HASTY), verify=world.verify)
        stop.set()
        thread.join(10)


def test_many_runs_sign_at_the_same_time(world: World, tmp_path: Path) -> None:
    runs = [RunStore(tmp_path).run(new_run_id()) for _ in range(6)]
    for run in runs:
        run.path.mkdir(parents=True)
        write_measured(run)
    verdicts: list[Any] = []
    threads = [
        threading.Thread(target=lambda run=run: verdicts.append(sign(world, run))) for run in runs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [verdict.ok for verdict in verdicts] == [True] * 6
    assert len({verdict.log.index for verdict in verdicts}) == 6


def test_a_trusted_root_alone_cannot_sign(world: World, run: RunDirectory) -> None:
    root = json.dumps(json.loads(world.trust_config.read_text())["trustedRoot"]).encode()
    trust = parse_trust(root, where="a trusted root")
    verifying = dataclasses.replace(world, trust=trust)
    with pytest.raises(TrustConfigError, match="signing needs a ClientTrustConfig"):
        sign_run(run, verifying.signer(), verify=world.verify)
    sign(world, run)
    assert verifying.verify(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES)).ok


class TestIdentityTokens:
    """A token that cannot be used is a permanent error that never repeats the token."""

    def test_the_file_is_read_at_each_signature(
        self, world: World, run: RunDirectory, tmp_path: Path
    ) -> None:
        token = tmp_path / "token"
        signer = world.signer(identity=file_identity(token))
        with pytest.raises(IdentityTokenError, match="cannot read the identity token file"):
            sign_run(run, signer, verify=world.verify)
        token.write_bytes(world.token_file.read_bytes() + b"\n")
        assert sign_run(run, signer, verify=world.verify).ok

    @pytest.mark.parametrize("content", [b"", b"secret", b"a.b.c", b"\xff\xff", b"x" * 100_000])
    def test_a_file_without_a_token(self, world: World, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "token"
        path.write_bytes(content)
        with pytest.raises(IdentityTokenError, match="token from the file") as caught:
            file_identity(path)()
        assert "secret" not in str(caught.value)
        assert isinstance(caught.value, PermanentError)

    def test_an_expired_token(self, world: World, run: RunDirectory, tmp_path: Path) -> None:
        path = tmp_path / "token"
        raw = expired(world)
        path.write_text(raw)
        with pytest.raises(
            IdentityTokenError, match=r"ExpiredSignatureError.*fetch a fresh"
        ) as got:
            sign(world, run, identity=file_identity(path))
        assert raw not in str(got.value)
        assert world.log_writes() == 0

    def test_another_audience(self, world: World, run: RunDirectory) -> None:
        with pytest.raises(IdentityTokenError, match="InvalidAudienceError"):
            sign(world, run, identity=world.identity("a@example.org", audience="pypi"))

    def test_a_token_the_authority_does_not_accept(
        self, world: World, run: RunDirectory, tmp_path: Path
    ) -> None:
        raw = world.token_file.read_text()
        head, _, tail = raw.rpartition(".")
        path = tmp_path / "token"
        path.write_text(f"{head}.{tail[:20]}{'A' if tail[20] != 'A' else 'B'}{tail[21:]}")
        with pytest.raises(SigningRefusedError, match=r"certificate authority .*token") as caught:
            sign(world, run, identity=file_identity(path))
        assert head not in str(caught.value)

    def test_the_variable_comes_before_detection(
        self, world: World, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SIGSTORE_ID_TOKEN", world.token_file.read_text())
        assert sign(world, run, identity=ambient_identity()).ok

    def test_a_github_job_without_permission_says_which(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SIGSTORE_ID_TOKEN", raising=False)
        monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        with pytest.raises(IdentityTokenError, match="id-token: write"):
            ambient_identity()()

    def test_no_identity_at_all_says_what_to_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("SIGSTORE_ID_TOKEN", "GITHUB_ACTIONS", "BUILDKITE", "GITLAB_CI", "CIRCLECI"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(IdentityTokenError, match="INFERENCEBENCH_IDENTITY_TOKEN_FILE"):
            ambient_identity()()


def expired(world: World) -> str:
    """The claims of a genuine token, a day ago. The time is refused before anything is sent."""
    claims = jwt.decode(world.token_file.read_text(), options={"verify_signature": False})
    claims |= {name: claims[name] - 86_400 for name in ("iat", "nbf", "exp")}
    return jwt.encode(claims, "any key of 32 bytes will do here.", algorithm="HS256")


def test_a_signer_contacts_nobody_until_it_signs(world: World) -> None:
    SigstoreSigner(trust=world.trust, identity=file_identity(Path("/nonexistent")))
    assert world.faults.requests() == []


class TestBatches:
    """One certificate for many runs, renewed in time; one refusal does not stop the others."""

    @pytest.fixture
    def runs(self, tmp_path: Path) -> list[RunDirectory]:
        runs = [RunStore(tmp_path).run(new_run_id()) for _ in range(3)]
        for run in runs:
            run.path.mkdir(parents=True)
            write_measured(run)
        return runs

    def test_a_batch_has_one_certificate(self, world: World, runs: list[RunDirectory]) -> None:
        before = world.log_sizes()
        signed = list(sign_runs(runs, world.signer(), verify=world.verify))
        assert [item.verdict is not None and item.verdict.ok for item in signed] == [True] * 3
        assert len(world.faults.requests(method="POST", path=FULCIO)) == 1
        assert len(world.faults.requests(method="POST", path=TSA)) == 3
        assert sum(world.log_sizes().values()) == sum(before.values()) + 3

    def test_a_certificate_near_its_end_is_renewed_with_a_fresh_token(
        self, world: World, runs: list[RunDirectory]
    ) -> None:
        asked = []
        source = file_identity(world.token_file)

        def identity() -> Any:
            asked.append(1)
            return source()

        signer = world.signer(identity=identity, renew_below=timedelta(minutes=11))
        assert all(item.verdict for item in sign_runs(runs, signer, verify=world.verify))
        assert len(asked) == 3
        assert len(world.faults.requests(method="POST", path=FULCIO)) == 3

    def test_a_run_that_is_refused_does_not_stop_the_others(
        self, world: World, runs: list[RunDirectory]
    ) -> None:
        runs[1].remove(RunFile.TRACES)
        signed = list(sign_runs(runs, world.signer(), verify=world.verify))
        assert [item.error is None for item in signed] == [True, False, True]
        assert "traces.parquet" in str(signed[1].error)

    def test_an_outage_ends_the_batch_and_what_is_signed_stays(
        self, world: World, runs: list[RunDirectory]
    ) -> None:
        world.faults.add("status", path=TSA, skip=1, times=None, status=500)
        done = []
        with pytest.raises(SigningUnavailableError):
            done.extend(sign_runs(runs, world.signer(), verify=world.verify))
        assert [run.has(RunFile.ENVELOPE) for run in runs] == [True, False, False]
        world.faults.clear()
        before = world.log_sizes()
        assert all(item.verdict for item in sign_runs(runs, world.signer(), verify=world.verify))
        assert sum(world.log_sizes().values()) == sum(before.values()) + 2


def statement(name: str) -> bytes:
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": "ab" * 32}}],
        "predicateType": "https://example.org/p/v1",
        "predicate": {},
    }
    return json.dumps(document).encode()


@pytest.mark.parametrize("version", [1, 2])
def test_a_statement_is_signed_and_comes_back_as_it_was(world: World, version: int) -> None:
    signer = world.signer(rekor_version=version)
    data = signer.sign_statement(statement("envelope"), suite_id="llm.inference.chat")
    payload, verified = verify_statement(parse_bundle(data), world.trust)
    assert payload == statement("envelope")
    assert verified.timestamped
    with pytest.raises(SigningRefusedError, match="not an in-toto statement"):
        signer.sign_statement(b"{}", suite_id="llm.inference.chat")
    stranger = world.signer(identity=world.identity("mallory@example.org"))
    with pytest.raises(SigningRefusedError, match="may not sign"):
        stranger.sign_statement(statement("x"), suite_id="llm.inference.chat")
