"""Decoding: the same answer however it was cut, and stamps that belong to the right event."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.measure.client.decoder import decode
from inferencebench_pipeline.measure.client.exchange import Exchange, Read

EVENTS = [
    {"choices": [{"delta": {"role": "assistant", "content": None}}]},
    {"choices": [{"delta": {"content": "Zürich"}}]},
    {"choices": [{"delta": {"reasoning_content": "hm"}}]},
    {"choices": [{"delta": {"content": ""}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
]


def http(body: bytes, *, chunks: int = 1) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    size = max(1, len(body) // chunks)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def stream(newline: bytes = b"\n") -> bytes:
    data = [json.dumps(event, ensure_ascii=False).encode() for event in EVENTS]
    lines = [b": keep-alive", *(b"data: " + entry for entry in data), b"data: [DONE]"]
    return b"".join(line + newline * 2 for line in lines)


def received(pieces: list[bytes], *, kernel: bool = True) -> Exchange:
    reads = [
        Read(10 * position + 5, 10 * position if kernel else None, piece)
        for position, piece in enumerate(pieces)
    ]
    return Exchange(0, "measured", "p", 0, sent_ns=0, end_ns=10**6, reads=reads)


@given(
    st.lists(st.integers(1, 700), max_size=30),
    st.sampled_from([b"\n", b"\r\n"]),
    st.integers(1, 40),
)
def test_an_answer_reads_the_same_however_it_was_cut(cuts, newline, chunks) -> None:
    data = http(stream(newline), chunks=chunks)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    answer = decode(received([data[a:b] for a, b in pairwise(places)]))
    assert answer.error_class is None
    assert [chunk.content_chars for chunk in answer.chunks] == [0, 6, 2, 0, 0, 0]
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 2)
    assert answer.finish_reason == "stop"


def test_an_event_takes_the_stamp_of_the_read_that_brought_its_first_byte() -> None:
    data = http(stream())
    start = data.index(b"data: ", data.index(b"Z\xc3\xbcrich") - 60)
    pieces = [data[:start], data[start : start + 1], data[start + 1 :]]
    answer = decode(received(pieces))
    assert [chunk.received_ns for chunk in answer.chunks] == [0, 10, 20, 20, 20, 20]
    assert answer.text_chunks[0].received_ns == 10


def test_a_read_without_a_kernel_stamp_falls_back_and_says_so() -> None:
    data = http(stream())
    exchange = received([data[:150], data[150:]])
    exchange.reads[0] = Read(17, None, data[:150])  # seen after the kernel's stamp of the next
    answer = decode(exchange)
    assert answer.first_byte_ns == 10
    assert [chunk.received_ns for chunk in answer.chunks] == [10] * 6
    assert not answer.chunks[0].kernel_stamp
    assert answer.chunks[-1].kernel_stamp


@given(st.binary(max_size=400))
def test_any_bytes_at_all_are_an_answer_or_an_error_class(data) -> None:
    for whole in (data, http(data), http(stream()[:50] + data)):
        answer = decode(received([whole]))
        assert (answer.error_class is None) == (answer.error_detail is None)
        assert len(answer.error_detail or "") <= 300


def test_llama_cpps_error_field_is_an_engine_error() -> None:
    body = b'error: {"code":500,"message":"context is full"}\n\n'
    answer = decode(received([http(body)]))
    assert answer.error_class == "engine_error"
    assert "context is full" in (answer.error_detail or "")


def test_the_final_text_of_the_completions_api_counts() -> None:
    body = b'data: {"choices":[{"text":"ab","finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
    answer = decode(received([http(body)]))
    assert answer.error_class is None
    assert [chunk.content_chars for chunk in answer.chunks] == [2]


def test_a_last_event_that_was_cut_off_is_not_an_event() -> None:
    body = stream()[: stream().index(b"Z\xc3\xbcrich")]
    data = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body
    answer = decode(received([data]))
    assert answer.error_class == "closed_mid_stream"
    assert len(answer.chunks) == 1
