"""The way to the engine: proxies, TLS tunnels, and platforms without the kernel's stamps."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from inferencebench_pipeline.measure.client import connection
from inferencebench_pipeline.measure.client.connection import Endpoint
from inferencebench_pipeline.measure.client.decoder import decode
from inferencebench_pipeline.measure.client.exchange import Exchange
from inferencebench_pipeline.measure.client.job import http_request
from inferencebench_pipeline.measure.client.loop import Limits, LoopReport, MeasuringLoop
from inferencebench_pipeline.measure.client.pacing import ClosedPacer
from inferencebench_pipeline.measure.client.polling import LinuxPoller, Poller, PortablePoller
from inferencebench_pipeline.measure.engines.http import free_port
from inferencebench_pipeline.measure.errors import EngineUnreachableError, SpecError
from tests.measure.fake_engine import Behaviour
from tests.measure.support import measured_rows, self_signed, spec_for


class Proxy:
    """An HTTP proxy: tunnels CONNECT, passes on absolute-form requests, remembers first lines."""

    def __init__(self, refusal: bytes | None = None) -> None:
        self.lines: list[bytes] = []
        self._refusal = refusal
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65_536)
            method, target, _ = head.split(b"\r\n")[0].split(b" ")
            self.lines.append(head.split(b"\r\n")[0])
            if self._refusal is not None:
                client.sendall(self._refusal)
                return
            tunnel = method == b"CONNECT"
            authority = target if tunnel else target.removeprefix(b"http://").split(b"/")[0]
            host, _, port = authority.decode().partition(":")
            with socket.create_connection((host, int(port))) as engine:
                if tunnel:
                    client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
                else:
                    engine.sendall(head.replace(b"http://" + authority, b"", 1))
                back = threading.Thread(target=_pump, args=(engine, client), daemon=True)
                back.start()
                _pump(client, engine)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            # Requests on a kept connection name the engine by its address, too.
            sink.sendall(data.replace(b"POST http://127.0.0.1:", b"POST //127.0.0.1:"))
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def running_proxy(refusal: bytes | None = None) -> Iterator[Proxy]:
    proxy = Proxy(refusal)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stop()


def _spec_through(proxy: str, base_url: str):
    engine = {"kind": "openai", "base_url": base_url, "proxy": proxy, "name": "f", "version": "1"}
    return spec_for(base_url, engine=engine)


def test_a_plain_engine_is_measured_through_a_proxy(fake, run) -> None:
    engine = fake()
    with running_proxy() as proxy:
        rows = measured_rows(_spec_through(proxy.url, engine.base_url), run)
    assert [row["completion_tokens"] for row in rows] == [5, 5, 5]
    target = f"{engine.base_url}/chat/completions".encode()
    assert b"POST " + target + b" HTTP/1.1" in proxy.lines
    assert f"GET {engine.base_url}/models HTTP/1.1".encode() in proxy.lines


def test_an_engine_behind_tls_is_measured_through_a_tunnel(
    fake, run, tmp_path, monkeypatch
) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    engine = fake(ssl_context=context)
    base_url = engine.base_url.replace("http:", "https:")
    with running_proxy() as proxy:
        rows = measured_rows(_spec_through(proxy.url, base_url), run)
    assert [row["completion_tokens"] for row in rows] == [5, 5, 5]
    assert {line for line in proxy.lines if not line.startswith(b"CONNECT")} == set()
    assert f"CONNECT 127.0.0.1:{engine.port} HTTP/1.1".encode() in proxy.lines


def test_the_environments_proxies_are_not_followed(fake, run, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert len(measured_rows(spec_for(fake().base_url), run)) == 3


def test_the_environments_exceptions_do_not_go_round_the_specs_proxy(
    fake, run, monkeypatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    engine = fake()
    with running_proxy() as proxy:
        assert len(measured_rows(_spec_through(proxy.url, engine.base_url), run)) == 3
    assert f"GET {engine.base_url}/models HTTP/1.1".encode() in proxy.lines


def test_a_proxy_that_refuses_is_an_unreachable_engine(run) -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with running_proxy(refusal) as proxy, pytest.raises(EngineUnreachableError, match="403"):
        measured_rows(_spec_through(proxy.url, "https://127.0.0.1:9/v1"), run)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://me:hunter2@127.0.0.1:1"])
def test_a_proxy_we_cannot_use_is_a_spec_error_that_repeats_no_secret(proxy) -> None:
    with pytest.raises(SpecError, match=r"engine\.proxy") as caught:
        _spec_through(proxy, "http://127.0.0.1:1/v1")
    assert "hunter2" not in str(caught.value)


def _measured_in_this_process(
    base_url: str, poller: Callable[[], Poller]
) -> tuple[list[Exchange], LoopReport]:
    endpoint = Endpoint.resolve(base_url, 5.0)
    ended: list[Exchange] = []
    body = b'{"model": "fake", "max_tokens": 5, "stream": true}'
    loop = MeasuringLoop(
        endpoint=endpoint,
        pacer=ClosedPacer(concurrency=2, warmup=0, measured=6),
        request=lambda _: ("p", http_request(endpoint, "chat", body, None)),
        on_ended=ended.append,
        housekeeping=lambda: None,
        limits=Limits(request_ns=20 * 10**9, run_ns=60 * 10**9, capture_bytes=2**30),
        poller=poller(),
    )
    report = loop.run(connect_ahead=2)
    return [exchange for exchange in ended if exchange.phase == "measured"], report


@pytest.mark.parametrize("poller", [LinuxPoller, PortablePoller])
def test_every_poller_measures_the_same_requests(fake, poller) -> None:
    engine = fake(Behaviour(ttft_s=0.02, itl_s=0.01))
    exchanges, report = _measured_in_this_process(engine.base_url, poller)
    assert len(exchanges) == 6
    assert report.clock_offset_ns > 0
    for exchange in exchanges:
        answer = decode(exchange)
        assert answer.error_class is None
        assert len(answer.text_chunks) == 5
        assert answer.text_chunks[0].received_ns - exchange.sent_ns >= 20_000_000


def test_without_the_kernels_stamps_arrivals_are_this_processs_and_say_so(
    fake, monkeypatch
) -> None:
    """An option that no kernel knows stands in for a platform without it (gVisor)."""
    monkeypatch.setattr(connection, "_SO_TIMESTAMPNS", 9999)
    exchanges, _ = _measured_in_this_process(fake().base_url, PortablePoller)
    for exchange in exchanges:
        assert all(read.kernel_ns is None for read in exchange.reads)
        chunks = decode(exchange).chunks
        assert not any(chunk.kernel_stamp for chunk in chunks)
        assert len([chunk for chunk in chunks if chunk.content_chars]) == 5
