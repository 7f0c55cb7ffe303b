"""A card is compared with its record: honest ones say nothing wrong, whoever wrote them when."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.envelope.reading import ReadEnvelope
from inferencebench_pipeline.envelope.stated_versions import EXTENSION_FIELD
from inferencebench_pipeline.hub.dataset.card import render_card
from inferencebench_pipeline.hub.dataset.card_comparison import (
    MAX_CARD_BYTES,
    CardError,
    card_body,
    card_differences,
    card_omissions,
    read_card,
)
from tests.chance import dice, examples
from tests.corpus.world import record
from tests.hub.records import SIGNER, signed_looking, unsigned_envelope

RUN_ID = "0199c2f4-a1b3-7def-8abc-0123456789ab"
ENVELOPE = parse_envelope(record(RUN_ID, "acme/one")["envelope.json"])
OTHERS = signed_looking(unsigned_envelope(RUN_ID))
"""A record with intervals, of another model."""


def card_of(envelope: Envelope = ENVELOPE, *, signed: bool = True) -> str:
    signer = SIGNER if signed else None
    read = ReadEnvelope(envelope)
    return render_card(read, "acme/one", signer=signer, endpoint="https://hub").decode()


def said(card: str | bytes, envelope: Envelope = ENVELOPE, *, verified: bool = True) -> list[str]:
    data = card.encode() if isinstance(card, str) else card
    return list(card_differences(read_card(data), ReadEnvelope(envelope), verified=verified))


def foreign(**changes: Any) -> Envelope:
    """A record that another tool made: nothing says what its card looks like."""
    document = ENVELOPE.model_dump(mode="json", exclude={EXTENSION_FIELD})
    return Envelope.model_validate({**document, "distributions": {}, **changes})


@pytest.mark.parametrize("envelope", [ENVELOPE, OTHERS], ids=["plain", "with intervals"])
@pytest.mark.parametrize("signed", [True, False])
def test_the_card_that_we_write_says_what_the_record_gives(
    envelope: Envelope, signed: bool
) -> None:
    assert said(card_of(envelope, signed=signed), envelope, verified=signed) == []


def test_the_card_of_a_foreign_record_that_we_would_write_says_what_it_gives() -> None:
    assert said(card_of(foreign()), foreign()) == []


def without_intervals(card: str) -> str:
    """The table of earlier versions, which had a column less."""
    rows = re.sub(r"(?m)^(\|[^|\n]*\|[^|\n]*)\|[^|\n]*(\|[^|\n]*\|[^|\n]*\|)$", r"\1\2", card)
    assert rows != card
    return rows


HONEST: dict[str, Callable[[str], str]] = {
    "as it is": lambda card: card,
    "with a paragraph": lambda card: card.replace(
        "\n## Validity",
        "\nMeasured in our laboratory, with 3 helpers.\n\n## Validity",
    ),
    "with line ends of another system": lambda card: card.replace("\n", "\r\n"),
    "with a mark at its begin": lambda card: "\ufeff" + card,
    "with rounder numbers": lambda card: card.replace("| 58.51 |", "| 58.5 |"),
    "with more digits": lambda card: card.replace("| 58.51 |", "| 58.5065 |"),
    "with a number told again": lambda card: card + "\nThat is 58.51 ms, or 0.0585 seconds.\n",
    "with its rate told again": lambda card: card + "\nOr **77.8** tokens per second.\n",
    "in the form of an earlier version": without_intervals,
    "with another license": lambda card: card.replace("cc-by-4.0", "mit"),
    "with a tag of its own": lambda card: card.replace("- llm\n", "- llm\n- ours\n- team:x\n"),
    "with the model as its base": lambda card: card.replace(
        "license:", "base_model: [example/tiny]\nlicense:"
    ),
    "with the number behind its unit": lambda card: card + "\nTTFT p50 in ms: 58.51\n",
    "with a table of its own": lambda card: (
        card + "\n| Record | tok/s | n |\n|---|---|---|\n| tiny | 77.8 | 12 |\n"
    ),
    "with a table of words": lambda card: card + "\nStep | Who\n---|---\nOne | us\n",
    "with a table in HTML": lambda card: (
        card + "\n<table><tr><td>TTFT p50</td><td>58.51</td></tr></table>\n"
    ),
    "with a title that names nothing": lambda card: card.replace(
        "# example/tiny · llm.inference.chat 1.0.0", "# a record"
    ),
    "with a shorter title": lambda card: card.replace(
        "# example/tiny · llm.inference.chat 1.0.0", "# example/tiny on a CPU"
    ),
    "with a short name": lambda card: re.sub("pretty_name: .*", "pretty_name: our tiny one", card),
    "without its plot": lambda card: card.replace("latency.png", ""),
    "with a true result": lambda card: card.replace(
        "license:",
        "model-index: [{name: tiny, results: [{metrics: [{type: ttft, value: 58.51}]}]}]\nlicense:",
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_a_card_that_says_nothing_else_is_not_accused(name: str) -> None:
    assert said(HONEST[name](card_of())) == []


def page(text: str) -> Callable[[str], str]:
    return lambda card: card[: card.index("\n# ")] + "\n" + text


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(card: str) -> str:
        assert old in card
        return card.replace(old, new, 1)

    return change


def beside(text: str) -> Callable[[str], str]:
    return replaced("\n## Validity", f"\n{text}\n\n## Validity")


LIES: dict[str, tuple[Callable[[str], str], str]] = {
    "a page of its own": (page("Llama-3.1-405B: 99,999 tok/s\n"), "says 99,999 tok/s"),
    "a number beside": (beside("99,999 tok/s!"), "says 99,999 tok/s"),
    "in bold": (beside("**99,999** `tok/s`"), "says 99,999 tok/s"),
    "in words of units": (beside("It makes 99999 tokens per second."), "99999 tokens per second"),
    "in thousands": (beside("It makes 99.9k tokens/s."), "99.9k tokens/s"),
    "in entities": (beside("&#57;9,999 tok/s"), "99,999 tok/s"),
    "in wide digits": (beside("９９９９９ tok/s"), "99999 tok/s"),
    "with joints that draw nothing": (beside("9\u200b9,999 tok\u2060/s"), "99,999 tok/s"),
    "in tags": (beside("<b>99,999</b> <i>tok</i>/s"), "99,999 tok/s"),
    "in code": (beside("```\n99,999 tok/s\n```"), "99,999 tok/s"),
    "a faster time": (beside("TTFT is 1.25 ms."), "1.25 ms"),
    "a row": (replaced("| TTFT p50 | 58.51 |", "| TTFT p50 | 5.85 |"), "TTFT p50: 5.85"),
    "a count": (replaced("| ms | 12 |", "| ms | 1,200 |"), "samples: 1,200"),
    "a unit": (replaced("|  | token/s |", "|  | request/s |"), "unit: request/s"),
    "an interval": (replaced("| 58.51 |  |", "| 58.51 | 58.50 to 58.52 |"), "95 % interval"),
    "a metric of its own": (
        replaced("| TTFT p50 |", "| Best of all | 99,999 |  | token/s | 12 |\n| TTFT p50 |"),
        "Best of all: 99,999",
    ),
    "a number behind a number": (
        replaced("| TTFT p50 | 58.51 |", "| TTFT p50 | 58.51 (99,999 tok/s) |"),
        "99,999 tok/s",
    ),
    "a table of another kind": (
        beside("| Model | Speed |\n|---|---|\n| ours | 99,999 tok/s |"),
        "99,999 tok/s",
    ),
    "the unit first": (beside("Output, tok/s: 99,999"), "tok/s: 99,999"),
    "the unit first, in words": (
        beside("Throughput (tokens/s) is **99,999**"),
        "tokens/s) is 99,999",
    ),
    "the unit behind, in brackets": (beside("- throughput — 99,999 (tok/s)"), "99,999 (tok/s"),
    "with an exponent": (beside("It makes 9.9e7 tok/s."), "9.9e7 tok/s"),
    "in short words of units": (beside("99,999 tokens per sec"), "99,999 tokens per sec"),
    "with a word between": (beside("99,999 generated tokens per second"), "99,999 generated"),
    "on two lines": (beside("It makes 99,999\ntok/s."), "99,999 tok/s"),
    "the unit over a column": (
        beside("| Model | tok/s |\n|---|---|\n| ours | 99,999 |"),
        "tok/s: 99,999",
    ),
    "the unit before a cell": (
        beside("| Result | Number |\n|---|---|\n| Output throughput (tok/s) | 99,999 |"),
        "Output throughput (tok/s): 99,999",
    ),
    "a table without outer bars": (
        beside("Metric | Value\n---|---\nOutput throughput | 99,999"),
        "Output throughput: 99,999",
    ),
    "a table in HTML": (
        beside("<table><tr><th>Metric</th><th>Value</th></tr>\n"
               "<tr><td>TTFT p50</td><td>1.5</td></tr></table>"),
        "TTFT p50: 1.5",
    ),
    "a table in HTML, the unit first": (
        beside("<table><tr><td class='a'>tok/s</td>\n <td>99,999</td></tr></table>"),
        "tok/s: 99,999",
    ),
    "a title in HTML": (beside("<h1 align=center>Llama-405B</h1>"), "title is Llama-405B"),
    "an underlined title": (beside("Llama-405B\n=========="), "title is Llama-405B"),
    "a title": (replaced("# example/tiny", "# meta/Llama-405B"), "title is meta/Llama-405B"),
    "a second title": (beside("# meta/Llama-405B"), "title is meta/Llama-405B"),
    "a field of the block": (replaced("model: example/tiny", "model: a/b"), "card says model: a/b"),
    "a name": (replaced("pretty_name: example/tiny", "pretty_name: meta/big"), "pretty_name"),
    "a name in words": (
        lambda card: re.sub("pretty_name: .*", "pretty_name: Llama 405B on H100", card),
        "not of a model of 405b",
    ),
    "a base model": (replaced("license:", "base_model: a/big\nlicense:"), "base_model: a/big"),
    "base models": (
        replaced("license:", "base_model: [example/tiny, meta/big]\nlicense:"),
        "base_model: meta/big",
    ),
    "a tag": (replaced("- hw:cpu", "- hw:h100"), "the tag hw:h100"),
    "a second tag": (replaced("- hw:cpu", "- hw:cpu\n- hw:h100"), "the tag hw:h100"),
    "results": (
        replaced(
            "license:",
            "model-index: [{name: tiny, results: [{metrics: [{type: rate, value: 99999}]}]}]\n"
            "license:",
        ),
        "model-index says rate: 99999",
    ),
    "results of another": (
        replaced("license:", "model-index: [{name: big}]\nlicense:"),
        "model-index name: big",
    ),
    "another file for the viewer": (
        replaced("path: traces.parquet", "path: other.parquet"),
        "file other.parquet",
    ),
    "more files for the viewer": (
        replaced("path: traces.parquet", "path: [traces.parquet, '*.parquet']"),
        "file *.parquet",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_card_that_says_something_else_is_told(name: str) -> None:
    lie, told = LIES[name]
    assert any(told in sentence for sentence in said(lie(card_of()))), said(lie(card_of()))


def without_block(card: str) -> str:
    return re.sub(r"(?ms)^inferencebench:\n(  .*?\n)+", "", card)


LEFT_OUT: dict[str, tuple[Callable[[str], str], list[str]]] = {
    "nothing": (lambda card: card, []),
    "the intervals": (without_intervals, []),
    "the page": (page(""), ["the metrics"]),
    "all but a sentence": (page("See the files."), ["the metrics"]),
    "the block": (without_block, ["no block"]),
    "the block's content": (
        lambda card: without_block(card).replace("license:", "inferencebench: yes\nlicense:"),
        ["no block"],
    ),
    "the front matter": (lambda card: card[card.index("\n# ") :], ["no block"]),
    "everything": (lambda _: "", ["no block", "the metrics"]),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_a_card_leaves_out_is_told_apart_from_what_is_wrong(name: str) -> None:
    change, told = LEFT_OUT[name]
    card = change(card_of())
    assert said(card) == []
    sentences = list(card_omissions(read_card(card.encode()), ReadEnvelope(ENVELOPE)))
    assert len(sentences) == len(told)
    for text, sentence in zip(told, sentences, strict=True):
        assert text in sentence
    assert list(card_omissions(read_card(card.encode()), ReadEnvelope(foreign()))) == []


FOREIGN_LIES: dict[str, tuple[str, str]] = {
    "a title": ("# Llama-3.1-405B on H100\n", "not of a model of 405b"),
    "a name": ("---\npretty_name: Mistral-Large\n---\n", "not of mistral"),
    "a number": ("Fast: 99,999 tok/s\n", "99,999 tok/s"),
    "a row": ("| Metric | Value |\n|---|---|\n| TTFT p50 | 1.5 |\n", "TTFT p50: 1.5"),
    "its block": ("---\ninferencebench: {model: meta/big}\n---\n", "model: meta/big"),
}


@pytest.mark.parametrize("name", FOREIGN_LIES)
def test_what_the_card_of_a_foreign_record_claims_is_compared_too(name: str) -> None:
    card, told = FOREIGN_LIES[name]
    assert any(told in sentence for sentence in said(card, foreign()))


def test_the_card_of_a_foreign_record_may_be_silent() -> None:
    assert said("# A benchmark of ours\n\nSee the file.\n", foreign()) == []
    assert (
        said("---\ntags: ['hw:h100', a]\ninferencebench: {hardware_class: x}\n---\n", foreign())
        == []
    )


def test_a_rejection_is_not_said_again() -> None:
    assert "signature_verified: true" in card_of()
    assert said(card_of(), verified=False) == []
    untrue = card_of().replace("signature_verified: true", "signature_verified: false")
    assert said(untrue) == ["card says signature_verified: False, the record gives True"]


def test_beside_malformed_notes_no_card_passes_for_compared() -> None:
    document = {**ENVELOPE.model_dump(mode="json"), EXTENSION_FIELD: {"pipeline_version": 1}}
    envelope = Envelope.model_validate(document)
    (sentence,) = said("# anything: 99,999 tok/s", envelope)
    assert sentence.startswith("the card cannot be compared: the record's own notes are malformed")
    # Verification says so itself where it rejects, or cannot tell.
    assert said("# anything: 99,999 tok/s", envelope, verified=False) == []
    assert list(card_omissions(read_card(b""), ReadEnvelope(envelope))) == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"x" * (MAX_CARD_BYTES + 1), "at most"),
        (b"\xff", "not UTF-8"),
        (b"---\n- a\n---\n", "not a mapping"),
        (b"---\na: 1\na: 2\n---\n", "front matter"),
        (b"---\n{\n---\n", "front matter"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(CardError, match=told):
        read_card(data)


def test_front_matter_that_is_not_closed_is_part_of_the_page() -> None:
    assert card_body(b"---\na: 1\n") == "---\na: 1\n"
    assert read_card(b"---\n---\nx").front == {}


def test_a_card_of_many_lies_is_told_in_few_sentences() -> None:
    sentences = said("".join(f"{number + 900_000} tok/s\n" for number in range(50_000)))
    assert len(sentences) == 21
    assert sentences[-1] == "the card says more that the record does not give"


@pytest.mark.parametrize("before", ["12", "- counts: 12 of 12", "(7)", "1,234", "1 234", "0.5"])
def test_a_number_at_the_end_of_the_line_before_hides_none(before: str) -> None:
    (sentence,) = said(f"{before}\n6633303 requests per second\n")
    assert "6633303 requests per second" in sentence


def test_any_number_with_a_unit_that_is_put_into_a_page_is_told() -> None:
    chance = dice("numbers in cards")
    units = ("tok/s", "tokens/s", "token/s", "req/s", "requests per second", "tokens a second")
    lines = card_of().split("\n")
    first = lines.index("# example/tiny · llm.inference.chat 1.0.0")
    for _ in range(examples(60)):
        number = chance.randrange(100_000, 10**8)
        text = f"{number:,}" if chance.random() < 0.5 else str(number)
        at = chance.randrange(first + 1, len(lines))
        line = f"{chance.choice(['', 'about ', '> ', '- '])}{text} {chance.choice(units)}"
        card = "\n".join([*lines[:at], line, *lines[at:]])
        assert any(text in sentence for sentence in said(card)), line
