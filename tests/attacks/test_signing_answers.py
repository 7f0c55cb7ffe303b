"""Whatever a signing service or a log answers, the wait for it ends, in words fit to print."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from urllib3.util.retry import Retry

from inferencebench_pipeline.trust.log import reader
from inferencebench_pipeline.trust.sign import services
from inferencebench_pipeline.trust.sign.services import SigningDeadlines, service_failure
from inferencebench_pipeline.untrusted.http import Bounds, exchange
from tests.attacks.hostile_http import ANSWERS, HostileServer
from tests.attacks.judging import assert_in_little_memory, outcome
from tests.measure.support import self_signed

ANSWER_S = 0.5
MARGIN_S = 8.0


def _ask_service(url: str, verify: bool | str = True) -> None:
    """Ask as sigstore-python does, on a session of ours."""
    session = requests.Session()
    session.verify = verify
    deadlines = SigningDeadlines(connect_s=5.0, answer_s=ANSWER_S)
    services._mount(session, Retry(total=0, redirect=0, raise_on_status=False), deadlines)
    try:
        answer = session.post(f"{url}/api/v1/log/entries", json={})
        answer.raise_for_status()
        answer.json()
    except Exception as error:
        raise service_failure("the log", error) from error


def _ask_log(url: str) -> None:
    reader._Http(url).json("/api/v1/log")


ASKERS: dict[str, Callable[[str], object]] = {"service": _ask_service, "log": _ask_log}


@pytest.mark.parametrize("asker", ASKERS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_every_wait_ends_whatever_is_answered(
    answer: str, asker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_WHOLE_S", ANSWER_S)
    with HostileServer(ANSWERS[answer]) as server:

        def ask() -> None:
            outcome(lambda: ASKERS[asker](server.url), within_s=30.0)

        if answer in {"bomb", "endless_chunks", "endless_headers", "endless_until_closed"}:
            assert_in_little_memory(ask)
        else:
            outcome(lambda: ASKERS[asker](server.url), within_s=ANSWER_S + MARGIN_S)


@pytest.mark.parametrize("answer", ["header_drip", "body_drip", "silence", "deep", "not_http"])
def test_an_encrypted_connection_ends_in_time_as_well(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(certificate))
    bounds = Bounds(max_bytes=1 << 20, whole_s=ANSWER_S)
    with HostileServer(ANSWERS[answer], context) as server:
        askers: list[Callable[[], object]] = [
            lambda: _ask_service(server.url, str(certificate)),
            lambda: exchange("GET", server.url, bounds, headers={}).json(),
        ]
        for ask in askers:
            error = outcome(ask, within_s=ANSWER_S + MARGIN_S)
            assert error is not None
            assert "certificate" not in str(error).lower()
        assert len(server.asked) >= 2
