"""Data sets and made-up text: exact lengths, one identity for all tokenizers, no fallback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from inferencebench_pipeline.measure.errors import CaptureError, SpecError
from inferencebench_pipeline.measure.spec.workload import Length, Workload
from inferencebench_pipeline.measure.workloads.lengths import draw_length
from inferencebench_pipeline.measure.workloads.making import (
    MadeWorkload,
    as_it_is,
    make,
    read_workload,
    salted_messages,
    write_workload,
)
from inferencebench_pipeline.measure.workloads.recipe import Recipe, recipe_of


class Syllables:
    """A small tokenizer with a chat template: a token is a word, or so many of its letters."""

    def __init__(self, letters: int) -> None:
        self._letters = letters

    def length(self, text: str) -> int:
        return sum(-(-len(word) // self._letters) for word in text.split())

    def prompt_length(self, messages: Any) -> int:
        return 5 + sum(3 + self.length(message["content"]) for message in messages)

    def completion_length(self, text: str) -> int:
        return 1 + self.length(text)


def workload(**content: Any) -> Workload:
    return Workload.model_validate(content)


def synthetic(length: Any, **more: Any) -> Workload:
    return workload(dataset={"kind": "synthetic", "prompt_tokens": length}, **more)


def made(recipe: Recipe, letters: int = 6, api: str = "chat") -> MadeWorkload:
    return make(recipe, Syllables(letters), api=api, salted=True)


def lengths_of(length: Any, count: int = 2000) -> list[int]:
    parsed = TypeAdapter(Length).validate_python(length)
    return [draw_length(parsed, f"{number}") for number in range(count)]


@pytest.mark.parametrize("letters", [5, 6, 20])
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_every_prompt_has_the_length_that_was_drawn_for_it(letters: int, api: str) -> None:
    length = {"distribution": "lognormal", "mean": 120, "stdev": 60, "min": 40, "max": 400}
    recipe = recipe_of(synthetic(length, prompts=40, api=api), 42)
    asked = made(recipe, letters, api)
    tokenizer = Syllables(letters)
    salt = " ".join(["Note", *asked.salt_words[-6:]])  # any six of them
    for drawn, item in zip(recipe.items, asked.items, strict=True):
        messages = salted_messages(item, salt)
        counted = (
            tokenizer.prompt_length(messages)
            if api == "chat"
            else tokenizer.completion_length(messages[0]["content"])
        )
        assert counted == item.prompt_tokens == drawn.prompt_tokens
    assert len({item.messages for item in asked.items}) == 40


def test_two_tokenizers_are_asked_the_same_in_different_words() -> None:
    recipe = recipe_of(synthetic(200, prompts=5), 42)
    first, second = made(recipe, 5), made(recipe, 20)
    assert first.identity_sha256 == second.identity_sha256
    assert first.text_sha256 != second.text_sha256
    assert made(recipe, 5) == first


def test_a_length_that_the_template_alone_exceeds_is_refused() -> None:
    with pytest.raises(SpecError, match=r"prompt_tokens = 12 is too short.*raise it"):
        made(recipe_of(synthetic(12), 42))


def test_a_tokenizer_that_splits_every_word_is_refused() -> None:
    with pytest.raises(SpecError, match="single tokens"):
        made(recipe_of(synthetic(500), 42), letters=1)


def test_documents_come_back_and_questions_do_not() -> None:
    dataset = {
        "kind": "shared_prefix",
        "documents": 2,
        "document_tokens": 300,
        "question_tokens": {"distribution": "normal", "mean": 20, "stdev": 5, "min": 5, "max": 40},
    }
    drawn = workload(dataset=dataset, prompts=12)
    assert drawn.salted_by == "run"
    texts = [item.messages[0].text for item in made(recipe_of(drawn, 42)).items]
    documents = {text.split("\n\nQuestion:")[0] for text in texts}
    questions = {text.split("\n\nQuestion:")[1] for text in texts}
    assert (len(documents), len(questions)) == (2, 12)
    assert {len(document.split()) for document in documents} == {300}
    assert len({len(question.split()) for question in questions}) > 3


def test_a_turn_repeats_what_was_said_before_it() -> None:
    dataset = {"kind": "conversation", "turns": 3, "turn_tokens": 10, "answer_tokens": 7}
    drawn = workload(dataset=dataset, prompts=2)
    assert drawn.salted_by == "conversation"
    items = made(recipe_of(drawn, 42)).items
    assert [len(item.messages) for item in items] == [1, 3, 5] * 2
    assert len({item.conversation for item in items}) == 2
    assert items[2].messages[:3] == items[1].messages
    roles = [message.role for message in items[2].messages]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert [len(message.text.split()) for message in items[2].messages] == [10, 7, 10, 7, 10]
    assert items[0].prompt_tokens < items[1].prompt_tokens < items[2].prompt_tokens


def test_made_text_is_kept_and_read_back_and_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "workload.jsonl"
    asked = made(recipe_of(synthetic(100, prompts=3), 42))
    write_workload(path, asked)
    assert read_workload(path) == asked
    path.write_text(path.read_text().replace("user", "system", 1))
    with pytest.raises(CaptureError, match="not what was written"):
        read_workload(path)
    path.write_text("")
    with pytest.raises(CaptureError, match="damaged"):
        read_workload(path)


def test_drawn_lengths_have_the_moments_they_were_asked_for() -> None:
    normal = lengths_of({"distribution": "normal", "mean": 500, "stdev": 50, "min": 1, "max": 1000})
    lognormal = lengths_of(
        {"distribution": "lognormal", "mean": 500, "stdev": 300, "min": 1, "max": 100_000}
    )
    for drawn, stdev in ((normal, 50), (lognormal, 300)):
        mean = sum(drawn) / len(drawn)
        assert mean == pytest.approx(500, rel=0.05)
        spread = (sum((value - mean) ** 2 for value in drawn) / len(drawn)) ** 0.5
        assert spread == pytest.approx(stdev, rel=0.15)
    cut = lengths_of({"distribution": "normal", "mean": 50, "stdev": 50, "min": 40, "max": 60})
    assert (min(cut), max(cut)) == (40, 60)
    assert set(lengths_of(77, 10)) == {77}


def test_output_lengths_are_drawn_and_never_above_max_tokens() -> None:
    drawn = {"distribution": "normal", "mean": 50, "stdev": 30, "min": 1, "max": 500}
    items = recipe_of(workload(output_tokens=drawn, max_tokens=60), 42).items
    asked = [item.max_tokens for item in items]
    assert len(set(asked)) > 5
    assert max(asked) == 60


def jsonl(folder: Path, *lines: Any, **more: Any) -> Workload:
    path = folder / "prompts.jsonl"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    dataset = {"kind": "jsonl", "path": str(path), **more.pop("dataset", {})}
    return workload(dataset=dataset, prompts=more.pop("prompts", 1), **more)


def test_a_jsonl_file_gives_prompts_and_messages(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    lines = ({"prompt": "Hello", "id": "a", "max_tokens": 9}, {"messages": messages})
    recipe = recipe_of(jsonl(tmp_path, *lines, prompts=2), 42)
    by_id = {item.id: item for item in recipe.items}
    assert by_id["a"].messages[0].text == "Hello"
    assert by_id["a"].max_tokens == 9
    assert [message.role for message in by_id["line-2"].messages] == ["system", "user"]
    assert not recipe.needs_tokenizer
    assert as_it_is(recipe).items == recipe.items


def test_the_content_identifies_a_file_and_its_place_does_not(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = recipe_of(jsonl(tmp_path, {"prompt": "a"}), 42)
    there = recipe_of(jsonl(tmp_path / "elsewhere", {"prompt": "a"}), 42)
    other = recipe_of(jsonl(tmp_path, {"prompt": "b"}), 42)
    assert here.identity_sha256 == there.identity_sha256 != other.identity_sha256
    assert here.dataset_sha256 == there.dataset_sha256 != other.dataset_sha256


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"prompts\.jsonl:2: not valid JSON"),
        ("[1]", r":2: a line must be an object"),
        ({"text": "x"}, "either prompt or messages"),
        ({"prompt": "x", "messages": []}, "either prompt or messages"),
        ({"prompt": "x", "maxtokens": 3}, "maxtokens is not a known field"),
        ({"prompt": " "}, "must hold text"),
        ({"prompt": "x", "max_tokens": True}, "max_tokens = True"),
        ({"prompt": "x", "max_tokens": -1}, "max_tokens = -1"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "'tool' is not a role"),
        ({"messages": ["x"]}, "list of objects"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        recipe_of(jsonl(tmp_path, {"prompt": "fine"}, line), 42)


def test_a_missing_or_other_file_is_an_error_and_nothing_takes_its_place(tmp_path: Path) -> None:
    missing = workload(dataset={"kind": "jsonl", "path": str(tmp_path / "none.jsonl")})
    with pytest.raises(SpecError, match="No such file"):
        recipe_of(missing, 42)
    other = jsonl(tmp_path, {"prompt": "x"}, dataset={"sha256": "ab" * 32})
    with pytest.raises(SpecError, match=r"not workload\.dataset\.sha256"):
        recipe_of(other, 42)
    with pytest.raises(SpecError, match="holds only 1 prompts; lower it"):
        recipe_of(jsonl(tmp_path, {"prompt": "x"}, prompts=2), 42)
    twice = jsonl(tmp_path, {"prompt": "x", "id": "a"}, {"prompt": "y", "id": "a"})
    with pytest.raises(SpecError, match="same id"):
        recipe_of(twice, 42)
    with pytest.raises(SpecError, match="builtin:chat-short"):
        recipe_of(workload(dataset="builtin:none"), 42)


def sharegpt(folder: Path, content: Any, turns: int) -> Workload:
    path = folder / "talk.json"
    path.write_text(json.dumps(content))
    dataset = {"kind": "sharegpt", "path": str(path), "turns": turns}
    return workload(dataset=dataset, prompts=1)


TALK = [
    {"from": "human", "value": "Hi"},
    {"from": "gpt", "value": "Hello"},
    {"from": "human", "value": "Why?"},
    {"from": "gpt", "value": "So."},
]


def test_sharegpt_conversations_become_first_questions_or_turns(tmp_path: Path) -> None:
    content = [{"id": "x", "conversations": TALK}]
    (first,) = recipe_of(sharegpt(tmp_path, content, 1), 42).items
    assert (first.id, [message.text for message in first.messages]) == ("x", ["Hi"])
    turns = recipe_of(sharegpt(tmp_path, content, 5), 42).items
    assert [item.id for item in turns] == ["x/1", "x/2"]
    assert [message.text for message in turns[1].messages] == ["Hi", "Hello", "Why?"]


@pytest.mark.parametrize(
    "content", [{}, [1], [{"conversations": "x"}], [{"conversations": [{"from": "bing"}]}]]
)
def test_what_is_not_sharegpt_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(SpecError, match=r"talk\.json"):
        recipe_of(sharegpt(tmp_path, content, 1), 42)


def test_turns_cannot_be_sent_to_the_completions_api(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="api: chat"):
        sharegpt(tmp_path, [], 2).model_copy().model_validate(
            {"dataset": {"kind": "sharegpt", "path": "x", "turns": 2}, "api": "completions"}
        )
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    with pytest.raises(SpecError, match="api: chat"):
        recipe_of(jsonl(tmp_path, {"messages": messages}, api="completions"), 42)
