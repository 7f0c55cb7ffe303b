"""Decoding: the same answer however it was cut, and stamps that belong to the right event."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferencebench_pipeline.measure.client.decoder import Answer, decode
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


def answer_to(*events: object, done: bool = True) -> Answer:
    """Return the result of decoding a stream of these events."""
    data = [b"data: " + json.dumps(event).encode() for event in events]
    lines = [*data, b"data: [DONE]"] if done else data
    return decode(received([http(b"".join(line + b"\n\n" for line in lines))]))


def text(content: str = "a", **fields: object) -> dict[str, object]:
    return {"choices": [{"delta": {"content": content}}]} | fields


def usage(prompt: object, completion: object, **fields: object) -> dict[str, object]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion} | fields
    return {"choices": [], "usage": counts}


def cached(count: object) -> dict[str, object]:
    return usage(9, 1, prompt_tokens_details={"cached_tokens": count})


@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        ([], None),
        ([cached(4)], 4),
        ([cached(0)], 0),
        ([cached(4), cached(6)], 6),
        ([cached(6), cached(4)], 4),
        ([cached(4), cached(0)], 0),
        ([cached(4), cached(-1)], 4),
        ([cached(4), cached("6")], 4),
        ([cached(4), cached(2**40)], 4),
        ([cached(4), cached(None)], 4),
        ([cached(4), usage(9, 1, prompt_tokens_details=None)], 4),
        ([usage(9, 1, prompt_tokens_details=[7])], None),
        ([usage(9, 1, details={"cached_tokens": 4})], None),
        ([{"timings": {"cache_n": 5}}], 5),
        ([{"timings": {"cache_n": 0}}], 0),
        ([{"timings": {"cache_n": 5}}, {"timings": {"cache_n": 3}}], 3),
        ([{"timings": {"cache_n": 5}}, {"timings": {"cache_n": -1}}], 5),
        ([{"timings": {"cache_n": "5"}}], None),
        ([{"timings": {"cached": 5}}], None),
        ([{"timings": 5}], None),
        ([cached(4), {"timings": {"cache_n": 5}}], 5),
        ([{"timings": {"cache_n": 5}}, cached(4)], 4),
    ],
)
def test_the_prompt_tokens_from_a_cache_are_those_the_engine_said_last(
    events: list[object], tokens: int | None
) -> None:
    answer = answer_to(text(), *events)
    assert answer.error_class is None
    assert answer.cached_tokens == tokens


@pytest.mark.parametrize(
    ("reports", "counts", "source"),
    [
        ([usage(3, 1)], (3, 1), "engine_usage"),
        ([usage(3, 1, total_tokens=4)], (3, 1), "engine_usage"),
        ([usage(3, 1, total_tokens=5)], (None, None), "contradictory"),
        ([usage(3, 1, total_tokens="5")], (3, 1), "engine_usage"),
        ([usage(3, 1), usage(3, 2)], (3, 2), "engine_usage"),
        ([usage(3, 2), usage(3, 1)], (None, None), "contradictory"),
        ([usage("3", 1)], (None, None), "contradictory"),
        ([usage(3, "1")], (None, None), "contradictory"),
        ([usage(3, 1.0)], (None, None), "contradictory"),
        ([usage(-1, 1)], (None, None), "contradictory"),
        ([usage(3, -1)], (None, None), "contradictory"),
        ([usage(2**40, 1)], (None, None), "contradictory"),
        ([usage(3, 2**40)], (None, None), "contradictory"),
        ([usage(2**40 - 1, 1)], (2**40 - 1, 1), "engine_usage"),
        ([{"usage": [3, 1]}], (None, None), "contradictory"),
        ([usage(3, 1), {"usage": "none"}], (None, None), "contradictory"),
        ([usage(3, 0)], (3, 0), "engine_usage"),
        ([], (None, None), "missing"),
    ],
)
def test_token_counts_are_the_engines_last_report_if_it_makes_sense(
    reports: list[object], counts: tuple[int | None, int | None], source: str
) -> None:
    answer = answer_to(text(), *reports)
    assert (answer.prompt_tokens, answer.completion_tokens) == counts
    assert answer.token_source == source


def test_more_chunks_with_text_than_tokens_contradict_the_count_but_for_one() -> None:
    assert answer_to(text(), text(), usage(3, 1)).token_source == "engine_usage"
    assert answer_to(text(), text(), text(), usage(3, 1)).token_source == "contradictory"


@pytest.mark.parametrize(
    ("events", "error_class", "said"),
    [
        ([text(), [1]], "malformed_stream", "an event is not an object: b'[1]'"),
        ([text(), 7], "malformed_stream", "an event is not an object: b'7'"),
        ([text(), {"error": {"message": "out of memory"}}], "engine_error", "out of memory"),
        ([text(), {"error": "gone"}], "engine_error", "gone"),
        ([text("")], "no_content", "without generated text"),
        (
            [{"choices": [{"delta": {}, "finish_reason": "stop"}]}],
            "no_content",
            "without generated",
        ),
        ([{"choices": "none"}], "no_content", "without generated text"),
        ([{"choices": [7]}], "no_content", "without generated text"),
        ([{"choices": [{"delta": 7}]}], "no_content", "without generated text"),
    ],
)
def test_a_stream_that_says_something_wrong_has_its_error_class(
    events: list[object], error_class: str, said: str
) -> None:
    answer = answer_to(*events)
    assert answer.error_class == error_class
    assert said in (answer.error_detail or "")


@pytest.mark.parametrize(
    ("body", "error_class", "said"),
    [
        (b"data: {\n\n", "malformed_stream", "an event is not JSON"),
        (b"event: error\ndata: {}\n\n", "engine_error", "{}"),
        (b"<html>", "malformed_stream", "not an event stream: b'<html>'"),
        (b"", "malformed_stream", "not an event stream"),
    ],
)
def test_what_is_no_stream_at_all_is_told(body: bytes, error_class: str, said: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = decode(received([head + body]))
    assert answer.error_class == error_class
    assert said in (answer.error_detail or "")


@pytest.mark.parametrize(
    ("status", "error_class"),
    [(400, "http_4xx"), (404, "http_4xx"), (429, "http_4xx"), (500, "http_5xx"), (301, "http_3xx")],
)
def test_a_status_is_an_error_class_with_the_engines_words(status: int, error_class: str) -> None:
    head = b"HTTP/1.1 %d No\r\nContent-Length: 4\r\n\r\n" % status
    answer = decode(received([head + b"full"]))
    assert (answer.error_class, answer.http_status) == (error_class, status)
    assert answer.error_detail == f"HTTP {status}: full"


def test_a_stream_without_its_mark_ends_properly_when_the_engine_said_why_it_stopped() -> None:
    last = {"choices": [{"delta": {"content": "b"}, "finish_reason": "length"}]}
    assert answer_to(text(), last, done=False).error_class is None
    assert answer_to(text(), done=False).error_class == "closed_mid_stream"


def test_a_running_total_gives_each_chunk_its_tokens() -> None:
    def running(content: str, total: int) -> dict[str, object]:
        counts = {"prompt_tokens": 3, "completion_tokens": total}
        return {"choices": [{"delta": {"content": content}}], "usage": counts}

    def shares(*events: dict[str, object]) -> list[int | None]:
        return [chunk.tokens for chunk in answer_to(*events).chunks]

    assert shares(running("a", 1), running("b", 4)) == [1, 3]
    assert shares(running("", 0), running("a", 2), usage(3, 2)) == [0, 2, 0]
    # A total that grew without text cannot be laid on the chunks, nor one that is not always told.
    assert shares(running("a", 1), usage(3, 2)) == [None, None]
    assert shares(running("a", 1), text(), usage(3, 2)) == [None, None, None]
