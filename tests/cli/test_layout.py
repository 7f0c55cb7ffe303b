"""Rows of a label and a text: what a person copies is in one piece, at any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from inferencebench_pipeline.cli.layout import is_copied_whole, rows_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COPIED = (
    f"https://huggingface.co/datasets/acme/llama-3.1-8b-vllm-h100/blob/{COMMIT}/envelope.json",
    "https://github.com/acme/bench/.github/workflows/publish.yml@refs/heads/main",
    "http://127.0.0.1:36227/rekor-v2.inferencebench.sandbox",
    "hf://datasets/acme/inferencebench-policy@" + COMMIT,
    "acme/" + "a-very-long-name-of-a-repository" * 3,
    "/home/me/downloads/results/of/some/benchmark/run/of/last/week/chat/envelope.json",
    "d775263c6528b58b0b8d774601865d94ec81d537b44b95f755b2102e03f6c162",
)


def shown(text: str, width: int, labels: int = 12) -> str:
    written = io.StringIO()
    out = Console(file=written, width=width, markup=False)
    for line in rows_of([(Text("Label" if labels else ""), Text(text))], labels, out):
        out.print(line, soft_wrap=True)
    return written.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("address", COPIED)
def test_an_address_is_never_broken_by_us(address: str, width: int) -> None:
    for text in (address, f"it is {address}, and so on", f"signed by me ({address})"):
        page = shown(text, width)
        assert address in page
        assert all(line.startswith("  ") for line in page.splitlines())


def test_an_address_that_fits_on_a_line_is_moved_left_until_it_does() -> None:
    page = shown("the file is " + COPIED[-1] + ", not this one", 80, labels=27).splitlines()
    assert [line.rstrip() for line in page] == [
        "  Label                      the file is",
        f"               {COPIED[-1]},",
        "                             not this one",
    ]
    assert max(map(len, page)) == 80


@pytest.mark.parametrize(
    "word",
    ["漢字" * 40, "x" * 90 + "VERIFIED", "a" * 90 + ":b", "\u212a" * 90, "é" * 90, "a" * 90 + "|"],
)
def test_what_is_no_address_is_broken_under_itself(word: str) -> None:
    assert not is_copied_whole(word)
    page = shown(word, 60).splitlines()
    assert len(page) > 1
    assert all(line.startswith("  ") for line in page)
    assert "".join(line.removeprefix("  Label").strip() for line in page) == word


def test_a_row_without_a_text_keeps_its_label() -> None:
    assert shown("", 80).strip() == "Label"
