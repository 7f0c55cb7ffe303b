"""YAML of strangers and colleagues: whatever stands in it, one kind of error, soon, with its place.

The table holds what has hung or crashed a reader somewhere; the generated documents look for what
will be the next. Every reader of the package is asked, and no other may read YAML.
"""

from __future__ import annotations

import ast
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.community_results.eval_yaml import parse_spec
from inferencebench_pipeline.community_results.results_file import parse_entries
from inferencebench_pipeline.community_results.yaml import EvaluationFileError, read_yaml
from inferencebench_pipeline.hub.model_card.front_matter import (
    FrontMatterError,
    append_item,
    get_key,
    remove_items,
    remove_key,
    set_key,
)
from inferencebench_pipeline.leaderboard.analysis.prices import PricesError, load_prices
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.spec_file import load_plan
from inferencebench_pipeline.trust.errors import PolicyError
from inferencebench_pipeline.trust.verify.policy import parse_policy
from inferencebench_pipeline.untrusted import yaml_documents
from inferencebench_pipeline.untrusted.yaml_documents import (
    MAX_DEPTH,
    YamlDocumentError,
    parse_yaml,
    yaml_events,
    yaml_tokens,
)
from tests.chance import examples

PACKAGE: Final = Path(yaml_documents.__file__).parents[1]
LIMIT: Final = 1 << 20
CPU_S: Final = 10.0
"""No measure of speed: what these documents did before was to take minutes, or for ever."""


def nested(first: str, before: str, after: str) -> str:
    """Return ten anchors of which each holds nine of the last: 534 bytes, 9^9 nodes."""
    levels = (f"a{i}: &a{i} {before}{','.join([f'*a{i - 1}'] * 9)}{after}\n" for i in range(1, 10))
    return f"a0: &a0 {first}\n" + "".join(levels)


BOMBS: Final = {
    "laughs": nested("[x]", "[", "]"),
    "merges": nested("{x: 1}", "{<<: [", "]}"),
    "chain of aliases": "- &a0 [1]\n" + "".join(f"- &a{i} [*a{i - 1}]\n" for i in range(1, 5000)),
    "alias of itself": "&a [*a]",
    "alias of nothing": "*a",
    "flow lists": "[" * 100_000,
    "flow mappings": "{a: " * 100_000,
    "block lists": "- " * 100_000,
    "block mappings": "".join(" " * i + "a:\n" for i in range(900)),
    "questions": "? " * 100_000,
    "colons": ":" * 200_000,
    "directives": "".join(f"%TAG !a{i}! x\n" for i in range(60_000)) + "---\na",
    "the same directive": "%TAG !a! x\n" * 50_000 + "---\na",
    "a long version": "%YAML " + "9" * 100_000 + ".1\n--- a",
    "a long tag": "!<" + "a" * 500_000 + "> x",
    "bangs": "!" * 200_000,
    "no such day": "2001-99-99",
    "year zero": "0000-01-01",
    "no such zone": "2001-01-01T00:00:00+99:99",
    "no float": "!!float x",
    "no number": '!!int ""',
    "no boolean": "!!bool x",
    "no timestamp": "!!timestamp x",
    "no mapping": "!!map x",
    "no list": "!!seq {a: b}",
    "list as text": "!!str [1]",
    "list as nothing": "!!null [1]",
    "list as a number": "!!int [1]",
    "5,000 digits": "9" * 5000,
    "hexadecimal digits": "0x" + "f" * 100_000,
    "base 60": "1" + ":1" * 300_000,
    "underscores": "0" + "_" * 100_000,
    "binary": "!!binary \xe9",
    "a set": "!!set {a}",
    "an ordered map": "!!omap [a: 1]",
    "an object": "!!python/object/apply:os.system [true]",
    "a value of its own": "[=]",
    "half a pair": '"\\ud800"',
    "NUL": "a\0b",
    "a list as key": "{[1]: 2, [1]: 3}",
    "a mapping as key": "? {a: b}\n: c",
    "a key twice": "{a: 1, b: 2, a: 3}",
    "a number twice": "{1: 1, 0x1: 2}",
    "a merge twice": "a: &a {x: 1}\nb: {<<: *a, <<: *a}",
    "a merge of text": "<<: 1",
    "two documents": "a\n---\nb",
    "larger than allowed": "#" * (LIMIT + 1),
}  # fmt: skip
HARMLESS: Final = {
    "base 60, nearly": ("1:2:3:99", "1:2:3:99"),
    "base 60": ("1:2:3", 3723),
    "a day": ("2001-12-14", date(2001, 12, 14)),
    "infinity": (".inf", float("inf")),
    "nothing": ("# a comment\n", None),
    "a merge": ("a: &a {x: 1}\nb: {<<: *a, y: 2}", {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
    "an alias": ("[&a {x: [1]}, *a]", [{"x": [1]}, {"x": [1]}]),
    "levels": ("[" * MAX_DEPTH + "]" * MAX_DEPTH, ...),
    "escapes": ('"\\e[31m\\u202e"', "\x1b[31m\u202e"),
    "a mark of order": ("\ufeffa: 1", {"a": 1}),
    "many keys": ("".join(f"k{i}: 1\n" for i in range(20_000)), ...),
    "no, in YAML 1.1": ("no", False),
}


@pytest.fixture(params=["libyaml", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers: a host without libyaml has the other."""
    chosen = str(request.param)
    if chosen == "libyaml" and not getattr(yaml, "__with_libyaml__", False):
        pytest.skip("PyYAML has no libyaml here")
    monkeypatch.setattr(yaml_documents, "_LIBYAML", chosen == "libyaml")
    return chosen


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_what_hangs_or_crashes_other_readers_is_an_error_of_the_document(text: str) -> None:
    started = time.process_time()
    with pytest.raises(YamlDocumentError) as refused:
        parse_yaml(text, what="x.yaml", max_bytes=LIMIT)
    assert time.process_time() - started < CPU_S
    said = str(refused.value)
    assert said.startswith("x.yaml:")
    assert said.isprintable()
    assert len(said) < 400


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("text", "value"), HARMLESS.values(), ids=HARMLESS.keys())
def test_what_is_unusual_and_harmless_is_read(text: str, value: object) -> None:
    found = parse_yaml(text.encode(), what="x", max_bytes=LIMIT).value
    assert value is ... or found == value


@pytest.mark.usefixtures("parser")
def test_an_error_names_line_and_column() -> None:
    with pytest.raises(YamlDocumentError, match=r"^mine\.yaml:2:4: '2001-99-99' is no timestamp"):
        parse_yaml("a: 1\nb: 2001-99-99\n", what="mine.yaml", max_bytes=LIMIT)
    with pytest.raises(YamlDocumentError, match=r"^mine\.yaml:3:1: key 'a' is there twice"):
        parse_yaml("a: 1\nb: 2\na: 3\n", what="mine.yaml", max_bytes=LIMIT)


def test_the_results_of_a_large_benchmark_suite_in_a_model_card_are_read() -> None:
    """Cards of embedding models hold tens of thousands of such lines."""
    results = "".join(
        f"  - task:\n      type: Retrieval\n    dataset:\n      type: mteb/t{i}\n"
        f"      name: T {i}\n"
        f"      config: default\n      split: test\n      revision: 0fd18e25b25c072e09e0d92ab61\n"
        f"    metrics:\n    - type: map_at_1\n      value: {i}.5\n    - type: map_at_10\n"
        f"      value: 12.25\n"
        for i in range(2_500)
    )
    card = f"---\nmodel-index:\n- name: m\n  results:\n{results}license: mit\n---\n# m\n".encode()
    started = time.process_time()
    linked = append_item(card, "inferencebench-verified", {"url": "x"})
    assert time.process_time() - started < 3 * CPU_S
    assert get_key(linked, "inferencebench-verified") == [{"url": "x"}]
    assert remove_key(linked, "inferencebench-verified") == card


def _spec(folder: Path) -> Callable[[str], object]:
    def read(text: str) -> object:
        path = folder / "mine.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return load_plan(path)

    return read


def _override(folder: Path) -> Callable[[str], object]:
    path = folder / "fine.yaml"
    path.write_text("name: mine\nengine: {kind: openai, model: m, base_url: http://127.0.0.1:1}\n")
    return lambda text: load_plan(path, [f"load.requests={text}"])


def _prices(folder: Path) -> Callable[[str], object]:
    def read(text: str) -> object:
        path = folder / "prices.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return load_prices(path)

    return read


def _card(text: str) -> object:
    """Every edit of a card that holds the text, as a value and as the whole block."""
    errors = []
    value = text.replace("\n", "\n ")
    for card in (
        f"---\nours: {value}\n---\n",
        f"---\n{text}\n---\n",
        f"---\nours:\n- {value}\n---\n",
    ):
        data = card.encode("utf-8", "surrogatepass")
        edits: tuple[Callable[[], object], ...] = (
            lambda data=data: get_key(data, "ours"),
            lambda data=data: append_item(data, "ours", {"a": "b"}),
            lambda data=data: set_key(data, "ours", 1),
            lambda data=data: remove_items(data, "ours", lambda item: item == "x"),
            lambda data=data: remove_key(data, "ours"),
        )  # type: ignore[misc]
        for edit in edits:
            try:
                edit()
            except FrontMatterError as error:
                errors.append(error)
    return errors


def readers(folder: Path) -> dict[str, tuple[Callable[[str], object], type[Exception]]]:
    """Return every reader of YAML in the package, with the only error that it may raise."""

    def data(reader: Callable[[bytes], object]) -> Callable[[str], object]:
        return lambda text: reader(text.encode("utf-8", "surrogatepass"))

    return {
        "spec": (_spec(folder), SpecError),
        "override": (_override(folder), SpecError),
        "policy": (data(lambda text: parse_policy(text, where="policy.yaml")), PolicyError),
        "prices": (_prices(folder), PricesError),
        "results": (data(lambda text: parse_entries(text, filename="x.yaml")), EvaluationFileError),
        "eval.yaml": (data(parse_spec), EvaluationFileError),
        "evaluation": (data(lambda text: read_yaml(text, filename="x")), EvaluationFileError),
        "card": (_card, FrontMatterError),
    }


@pytest.mark.parametrize("reader", ["spec", "override", "policy", "prices", "results", "eval.yaml",
                                    "evaluation", "card"])  # fmt: skip
def test_every_reader_refuses_each_of_them_in_its_own_words(tmp_path: Path, reader: str) -> None:
    read, expected = readers(tmp_path)[reader]
    for name, text in BOMBS.items():
        started = time.process_time()
        try:
            read(text)
        except expected as error:
            assert str(error).replace("\n", "").isprintable(), name
        assert time.process_time() - started < CPU_S, name


PIECES: Final = st.sampled_from(
    [
        "a", "b: ", "- ", "? ", ": ", "\n", "\n  ", "\n- ", "{", "}", "[", "]", ",", "&a ", "*a",
        "<<: ", "!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!map ", "!!seq ", "!!binary ",
        "!!merge ", "!!null ", "!x ", "! ", "'", '"', "|", ">", "|-\n  ", "#", "%", "---\n",
        "...\n",
        "@", "`", "\t", "2001-99-99", "1:2:3", "0x", "0b2", "0o9", "1e999", ".inf", ".nan", "~",
        "\\ud800", "\\x00", "\u2028", "\u0085", "\ufeff", "\x1b", "\u202e", "\U0001f600", "=", "9",
        "99999999999999999999", "-", "_", "name: x\n", "version: 1\n", "signers:\n", "ours:\n- ",
        "load: {kind: closed}\n", "value: ", "dataset: {id: a/b, task_id: c}\n",
    ]
)  # fmt: skip


@settings(max_examples=examples(100), deadline=None, derandomize=True)
@given(pieces=st.lists(PIECES, max_size=30), times=st.sampled_from([1, 1, 1, 50]))
def test_no_generated_document_gets_past_a_reader(pieces: list[str], times: int) -> None:
    text = "".join(pieces) * times
    with tempfile.TemporaryDirectory() as folder:
        for name, (read, expected) in readers(Path(folder)).items():
            started = time.process_time()
            try:
                read(text)
            except expected as error:
                assert str(error), name
            assert time.process_time() - started < CPU_S, name


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(pieces=st.lists(PIECES, max_size=30))
def test_both_parsers_see_the_same_document(pieces: list[str]) -> None:
    """An edit of a card rests on where the parser says that things stand."""
    text = "".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        try:
            fast = _seen(text)
            patch.setattr(yaml_documents, "_LIBYAML", False)
            slow = _seen(text)
        except YamlDocumentError:
            return  # each refuses a few documents that the other does not
    assert fast == slow


def _seen(text: str) -> list[tuple[Any, ...]]:
    """Return every node and alias with where it begins."""
    list(yaml_tokens(text, what="x"))
    return [
        (
            type(event).__name__,
            getattr(event, "value", None),
            event.anchor,
            getattr(event, "tag", None),
            event.start_mark.index if event.start_mark else None,
        )
        for event in yaml_events(text, what="x")
        if isinstance(event, yaml.NodeEvent)
    ]


READING: Final = {
    "load", "load_all", "safe_load", "safe_load_all", "full_load", "full_load_all", "unsafe_load",
    "unsafe_load_all", "parse", "scan", "compose", "compose_all", "Loader", "SafeLoader",
    "FullLoader", "UnsafeLoader", "BaseLoader", "CLoader", "CSafeLoader", "CParser", "loader",
    "Reader", "Scanner", "Parser", "Composer", "metadata_load", "ModelCard", "DatasetCard",
    "RepoCard",
}  # fmt: skip


def test_yaml_is_read_in_one_place() -> None:
    """The sandbox is the world outside and keeps a reader of its own."""
    elsewhere = []
    for module in sorted(PACKAGE.rglob("*.py")):
        place = module.relative_to(PACKAGE)
        if place.parts[0] == "sandbox" or place == Path("untrusted/yaml_documents.py"):
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            reads = (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "yaml"
                and node.attr in READING
            )
            imports = isinstance(node, ast.ImportFrom) and (
                (node.module or "").split(".")[0] in {"yaml", "ruamel", "huggingface_hub"}
                and bool(READING & {alias.name for alias in node.names})
            )
            if reads or imports:
                elsewhere.append(f"{place}:{node.lineno}")
    assert not elsewhere
