"""The decoder of answers: from bytes to chunks, tokens and usage, or to the error.

Runs after the window, over the same reads the client kept, so that nothing is parsed while
something is being timed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import httptools
import orjson

from inferencebench_pipeline.measure.client.exchange import Exchange, Read

_DETAIL_CHARS: Final = 300
_DONE: Final = b"[DONE]"

TOKENS_FROM_ENGINE: Final = "engine_usage"
TOKENS_MISSING: Final = "missing"
TOKENS_CONTRADICTORY: Final = "contradictory"


@dataclass
class Chunk:
    """One server-sent event of an answer."""

    received_ns: int
    size_bytes: int
    content_chars: int
    kernel_stamp: bool
    tokens: int | None = None
    """Tokens in it, where the engine counts them chunk by chunk."""


@dataclass
class Answer:
    """A decoded answer. ``error_class`` is None exactly when the request succeeded."""

    http_status: int | None = None
    first_byte_ns: int | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    token_source: str = TOKENS_MISSING
    cached_tokens: int | None = None
    """Prompt tokens that the engine says it took from its prefix cache."""
    error_class: str | None = None
    error_detail: str | None = None
    chunks: list[Chunk] = field(default_factory=list)
    text: str = ""
    """All generated text, reasoning included."""

    @property
    def text_chunks(self) -> list[Chunk]:
        """The chunks that hold generated text."""
        return [chunk for chunk in self.chunks if chunk.content_chars > 0]

    def fail(self, error_class: str, detail: str) -> None:
        """Record what went wrong; the first thing to go wrong is the one that counts."""
        if self.error_class is None:
            self.error_class = error_class
            self.error_detail = " ".join(detail.split())[:_DETAIL_CHARS]


def decode(exchange: Exchange) -> Answer:
    """Return the decoded answer to ``exchange``.

    The error classes: what the client saw on the wire (``connect_refused``, ``connection_failed``,
    ``connection_reset``, ``timeout``, ``malformed_stream``), ``http_4xx`` and its like,
    ``engine_error`` (an error event in the stream), ``malformed_stream`` (not HTTP, not
    server-sent events, not JSON), ``closed_mid_stream`` and ``no_content`` (ended properly without
    a single token).
    """
    answer = Answer()
    if exchange.error_class is not None:
        answer.fail(exchange.error_class, exchange.error_detail or "")
    message = _HttpMessage.parse(exchange.reads)
    if exchange.reads:
        answer.first_byte_ns = message.arrivals[0]
    answer.http_status = message.status
    if message.error is not None:
        answer.fail("malformed_stream", message.error)
    elif message.status is not None and message.status != 200:
        text = message.body.decode(errors="replace")
        answer.fail(f"http_{message.status // 100}xx", f"HTTP {message.status}: {text}")
    elif message.status is not None:
        _decode_stream(message, answer)
    elif answer.error_class is None:
        answer.fail("closed_mid_stream", "closed before the answer's headers were complete")
    return answer


def _arrivals(reads: list[Read]) -> list[int]:
    """Return when each read's bytes arrived.

    A read without a kernel stamp has the later one of this process, which may lie after the
    kernel's stamp of the next read; but bytes arrive in order.
    """
    arrivals = [read.seen_ns if read.kernel_ns is None else read.kernel_ns for read in reads]
    for position in range(len(arrivals) - 2, -1, -1):
        arrivals[position] = min(arrivals[position], arrivals[position + 1])
    return arrivals


class _HttpMessage:
    """The body of an answer, and which read each byte of it came with."""

    def __init__(self, reads: list[Read]) -> None:
        self.status: int | None = None
        self.complete = False
        self.error: str | None = None
        self.body = b""
        self.arrivals = _arrivals(reads)
        self._reads = reads
        self._pieces: list[bytes] = []
        self._piece_starts: list[int] = []
        self._piece_reads: list[int] = []
        self._size = 0
        self._position = 0
        self._headers_complete = False

    @classmethod
    def parse(cls, reads: list[Read]) -> _HttpMessage:
        message = cls(reads)
        parser = httptools.HttpResponseParser(message)
        for position, read in enumerate(reads):
            message._position = position
            try:
                parser.feed_data(read.data)
            except httptools.HttpParserError as error:
                # What follows a complete answer is no part of it.
                if not message.complete:
                    message.error = f"not HTTP: {error}"
            if message._headers_complete:
                message.status = parser.get_status_code()
            if message.complete or message.error is not None:
                break
        message.body = b"".join(message._pieces)
        return message

    def on_headers_complete(self) -> None:
        self._headers_complete = True

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._piece_starts.append(self._size)
        self._piece_reads.append(self._position)
        self._size += len(piece)

    def on_message_complete(self) -> None:
        self.complete = True

    def arrival_of(self, offset: int) -> tuple[int, bool]:
        """Return when the body's byte at ``offset`` arrived, and whether the kernel says so."""
        position = self._piece_reads[bisect_right(self._piece_starts, offset) - 1]
        return self.arrivals[position], self._reads[position].kernel_ns is not None


def _decode_stream(message: _HttpMessage, answer: Answer) -> None:
    done = False
    usages: list[Any] = []
    totals: list[int | None] = []
    texts: list[str] = []
    for start, size, name, data in _events(message.body):
        if done:
            break
        if data.strip() == _DONE:
            done = True
            continue
        try:
            content = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            answer.fail("malformed_stream", f"an event is not JSON ({error}): {data[:80]!r}")
            break
        if not isinstance(content, dict):
            answer.fail("malformed_stream", f"an event is not an object: {data[:80]!r}")
            break
        # An engine has answered 200 long before it fails in the middle, so errors come as events.
        if name == b"error" or content.get("error"):
            answer.fail("engine_error", str(content.get("error") or content))
            break
        text, finish_reason = _choice(content)
        texts.append(text)
        answer.finish_reason = finish_reason or answer.finish_reason
        usage = content.get("usage")
        if usage is not None:
            usages.append(usage)
        totals.append(_whole(usage, "completion_tokens"))
        answer.cached_tokens = _cached_tokens(content, answer.cached_tokens)
        # A large event lies in several reads. It counts from the one that holds its first byte.
        arrived_ns, from_kernel = message.arrival_of(start)
        answer.chunks.append(Chunk(arrived_ns, size, len(text), from_kernel))
    answer.text = "".join(texts)
    _judge_ending(message, answer, done=done)
    _count_tokens(answer, usages)
    _share_tokens(answer, totals)


def _judge_ending(message: _HttpMessage, answer: Answer, *, done: bool) -> None:
    # Not every engine sends [DONE]. A finish reason and the end of the HTTP body say as much.
    ended = done or (message.complete and answer.finish_reason is not None)
    if not ended and message.complete and not answer.chunks:
        answer.fail("malformed_stream", f"not an event stream: {message.body[:80]!r}")
    elif not ended:
        answer.fail("closed_mid_stream", f"the stream broke off after {len(answer.chunks)} events")
    elif not answer.text_chunks:
        answer.fail("no_content", "the stream ended properly without generated text")


def _events(body: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Yield every complete event that has data: offset, size in bytes, event name, data.

    Follows the WHATWG event-stream rules, section 9.2.6, as far as these engines use them: lines
    end in LF or CRLF, comments are ignored, an empty line ends an event, and one that is not ended
    is dropped, save for the closing mark. llama.cpp writes ``error:`` as a field name of its own.
    """
    position = 0
    start = -1
    name = b""
    data: list[bytes] = []
    while position < len(body):
        newline = body.find(b"\n", position)
        end = len(body) if newline < 0 else newline
        line = body[position:end].removesuffix(b"\r")
        if not line:
            if data:
                yield start, end + 1 - start, name, b"\n".join(data)
            start, name, data = -1, b"", []
        else:
            key, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if key in (b"data", b"error", b"event") and start < 0:
                start = position
            if key == b"data":
                data.append(value)
            elif key == b"event":
                name = value
            elif key == b"error":
                name = b"error"
                data.append(value)
        position = end + 1
    if data == [_DONE]:
        yield start, len(body) - start, name, _DONE


def _choice(content: dict[str, Any]) -> tuple[str, str | None]:
    """Return the generated text in an event, and its finish reason."""
    choices = content.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return "", None
    choice = choices[0]
    # Chat answers carry the text in `delta`, completions beside the finish reason.
    source = choice.get("delta") if "delta" in choice else choice
    text = ""
    if isinstance(source, dict):
        # Reasoning is generated text as well. Engines differ in the name that they give it.
        for key in ("content", "reasoning_content", "reasoning", "text"):
            part = source.get(key)
            if isinstance(part, str):
                text += part
    reason = choice.get("finish_reason")
    return text, reason if isinstance(reason, str) else None


def _count_tokens(answer: Answer, usages: list[Any]) -> None:
    """Take the token counts from the engine's last usage report, if it makes sense.

    Chunks are never counted as tokens; but an answer with more text chunks than tokens (one spare
    for text that was held back), a total that is not the sum, or counts that fall from one report
    to the next contradict the report, and then there is no count.
    """
    if not usages:
        return
    counts = [_usage(usage) for usage in usages]
    last = counts[-1]
    known = [count for count in counts if count is not None]
    if (
        last is None
        or any(later[1] < earlier[1] for earlier, later in pairwise(known))
        # A stream that broke off may lack the report that counts its last chunks.
        or (answer.error_class is None and len(answer.text_chunks) > last[1] + 1)
    ):
        answer.token_source = TOKENS_CONTRADICTORY
        return
    answer.prompt_tokens, answer.completion_tokens = last
    answer.token_source = TOKENS_FROM_ENGINE


def _share_tokens(answer: Answer, totals: list[int | None]) -> None:
    """Give each chunk its tokens, where the engine reports its running total with every chunk."""
    before = 0
    shares = []
    for chunk, total in zip(answer.chunks, totals, strict=True):
        if total is None and chunk.content_chars > 0:
            return
        total = before if total is None else total
        shares.append(total - before if chunk.content_chars > 0 else 0)
        before = total
    if sum(shares) != answer.completion_tokens or min(shares, default=0) < 0:
        return  # a total that grew without text cannot be laid on the chunks
    for chunk, share in zip(answer.chunks, shares, strict=True):
        chunk.tokens = share


def _whole(mapping: object, key: str) -> int | None:
    """Return the count at ``key``, or None when there is none or it cannot be one."""
    value = mapping.get(key) if isinstance(mapping, dict) else None
    return value if isinstance(value, int) and 0 <= value < 2**40 else None


def _cached_tokens(content: dict[str, Any], known: int | None) -> int | None:
    """Return the prompt tokens served from a cache: OpenAI's field, or llama.cpp's own."""
    usage = content.get("usage")
    if isinstance(usage, dict):
        # An engine that says 0 knows; one that says nothing does not.
        said = _whole(usage.get("prompt_tokens_details"), "cached_tokens")
        known = known if said is None else said
    found = _whole(content.get("timings"), "cache_n")
    return known if found is None else found


def _usage(usage: object) -> tuple[int, int] | None:
    """Return prompt and completion tokens of a usage report, or None when it is nonsense."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    total = usage.get("total_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    if prompt < 0 or completion < 0 or completion >= 2**40 or prompt >= 2**40:
        return None
    if isinstance(total, int) and total != prompt + completion:
        return None
    return prompt, completion
