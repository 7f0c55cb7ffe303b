"""The dataset card: what machines read, what people read, and strangers' strings in both."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.envelope.extension import PipelineExtension
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.envelope.reading import ReadEnvelope
from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.dataset.card import front_matter, metric_rows, render_card
from inferencebench_pipeline.sandbox.hub.cards import card_errors, card_warnings
from inferencebench_pipeline.sandbox.hub.pages.markdown import render_markdown
from inferencebench_pipeline.trust.verify.verdict import VerifiedSigner
from tests.chance import examples
from tests.hub.records import MODEL, SIGNER, signed_looking, unsigned_envelope

RUN_ID = "0199c2f4-a1b3-7def-8abc-0123456789ab"
REPO_ID = "acme/model__suite__0199c2f4a1b3-456789ab"
ENDPOINT = "https://huggingface.co"
ENVELOPE = signed_looking(unsigned_envelope(RUN_ID))


def rendered(envelope: Envelope = ENVELOPE, *, signer: VerifiedSigner | None = SIGNER) -> str:
    return render_card(ReadEnvelope(envelope), REPO_ID, signer=signer, endpoint=ENDPOINT).decode()


def metadata(card: str) -> dict[str, Any]:
    front = yaml.safe_load(card[4 : card.index("\n---\n")])
    assert isinstance(front, dict)
    return front


def page_of(card: str) -> str:
    return card[card.index("\n---\n") + 5 :]


def html_of(card: str) -> str:
    return render_markdown(page_of(card), repo_path="/x", revision="main")


def changed(**fields: Any) -> Envelope:
    document = ENVELOPE.model_dump()
    document.update(fields)
    return Envelope.model_validate(document)


def test_the_front_matter_holds_every_promised_key() -> None:
    front = metadata(rendered())
    assert front["license"] == "cc-by-4.0"
    assert front["tags"][:3] == ["benchmark", "inferencebench", "llm"]
    assert front["inferencebench"] == {
        "envelope_version": "v1",
        "suite_id": "llm.inference.chat",
        "suite_version": "1.0.0",
        "model": MODEL,
        "engine": "llama.cpp",
        "hardware_class": "cpu",
        "fingerprint_sha256": ENVELOPE.hardware_fingerprint.fingerprint_sha256,
        "signature_verified": True,
        "rekor_log_index": 12345,
    }


def test_facets_are_tags_too_since_only_tags_can_be_searched() -> None:
    tags = metadata(rendered())["tags"]
    assert {"suite:llm.inference.chat", "engine:llama.cpp", "hw:cpu"} <= set(tags)


def test_the_viewer_shows_the_traces_and_nothing_else() -> None:
    front = metadata(rendered())
    assert front["size_categories"] == ["n<1K"]
    (config,) = front["configs"]
    assert config["data_files"] == [{"split": "train", "path": "traces.parquet"}]


@pytest.mark.parametrize(
    ("rows", "category"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (99_999, "10K<n<100K"), (2_000_000, "n>1M")],
)
def test_the_size_category_follows_the_rows(rows: int, category: str) -> None:
    binding = f"sha256:{'ab' * 32};rows={rows};schema=1"
    envelope = changed(distributions={"traces.parquet": binding})
    assert front_matter(ReadEnvelope(envelope), verified=True)["size_categories"] == [category]


def test_without_traces_there_is_no_viewer_configuration() -> None:
    front = metadata(rendered(changed(distributions={})))
    assert "configs" not in front
    assert "size_categories" not in front


def test_a_signature_is_called_verified_only_when_it_was() -> None:
    card = rendered(signer=None)
    assert metadata(card)["inferencebench"]["signature_verified"] is False
    assert "Verified before publishing" not in card
    assert "Not verified by the publisher" in card


def test_the_commands_ask_for_the_signer_who_was_verified_and_nobody_else() -> None:
    card = rendered()
    identity = "https://github.com/acme/bench/.github/workflows/publish.yml@refs/heads/main"
    place = f"hf://datasets/{REPO_ID}/envelope.json"
    assert f"inferencebench verify {place} \\\n    --owner acme\n" in card
    assert "--require-issuer https://token.actions.githubusercontent.com" in card
    pattern = re.search(r"--require-identity-pattern '(.*)'", card)
    assert pattern is not None
    assert re.search(pattern[1], identity)
    assert not re.search(pattern[1], identity.replace(".yml", "xyml"))
    assert card.count("--require-identity-pattern") == 2
    assert "--require" not in rendered(signer=None)
    assert "--require" not in rendered(signer=SIGNER.model_copy(update={"method": "dev-key"}))


@pytest.mark.parametrize("identity", ["a'b; rm -rf ~", "```\nrm -rf ~", "$(x)@example.org"])
def test_an_identity_cannot_leave_its_argument_or_its_fence(identity: str) -> None:
    card = rendered(signer=SIGNER.model_copy(update={"identity": identity}))
    (fence,) = (
        token.content
        for token in MarkdownIt("commonmark").parse(page_of(card))
        if token.type == "fence" and "inferencebench verify" in token.content
    )
    command = fence.split("\n\n")[0].partition("\ninferencebench ")[2]
    assert shlex.split(command)[-1] == " ".join(identity.split())


def test_apostrophes_and_quotes_are_shown_as_such() -> None:
    shown = html_of(rendered(changed(warnings=["the engine's \"own\" & <others'> words"])))
    assert "the engine's &quot;own&quot; &amp; &lt;others'&gt; words" in shown


def test_an_unsigned_envelope_has_no_log_index() -> None:
    front = metadata(rendered(changed(signature=None), signer=None))
    assert front["inferencebench"]["rekor_log_index"] == -1


def test_the_page_shows_metrics_with_unit_and_samples() -> None:
    card = rendered()
    assert "| TTFT p50 | 52.50 |  | ms | 24 |" in card
    assert "| Requests measured | 24 |  | request | 24 |" in card
    assert "| TTFT p99 | not reported (24 samples, at least 662 needed) |  | ms | 24 |" in card


def test_a_metric_is_shown_with_its_interval_or_with_the_reason_why_it_has_none() -> None:
    notes = json.loads(ENVELOPE.model_dump_json())["inferencebench_pipeline"]["metric_notes"]
    interval = {"low": 49.25, "high": 57.5, "method": "moving_block_bootstrap", "n": 64}
    notes["ttft_p50_ms"] |= {"interval": interval, "interval_null_reason": None}
    extension = (ENVELOPE.model_extra or {})["inferencebench_pipeline"] | {"metric_notes": notes}
    card = rendered(changed(inferencebench_pipeline=extension))
    assert "| TTFT p50 | 52.50 | 49.25 to 57.50 | ms | 24 |" in card
    reason = "24 observations, at least 64 needed"
    assert f"No interval for TTFT p95, TPOT p50, E2E latency p50, Error rate: {reason}." in card


def test_the_page_says_what_was_flagged_and_what_is_unknown() -> None:
    card = rendered()
    assert "**Passed:** requests complete: 24 of 24" in card
    assert "**Caution:** steady state: too short" in card
    assert "- bios.version is unknown: needs root" in card


def test_the_page_shows_how_to_verify_and_to_cite_this_very_repository() -> None:
    card = rendered()
    assert f"inferencebench verify hf://datasets/{REPO_ID}/envelope.json" in card
    assert f"bench verify hf://datasets/{REPO_ID}/envelope.json" in card
    assert f"\\url{{{ENDPOINT}/datasets/{REPO_ID}}}" in card
    assert "@misc{" in card


def test_the_plot_is_shown_only_when_it_is_there() -> None:
    assert "latency.png" not in rendered()
    shown = render_card(
        ReadEnvelope(ENVELOPE), REPO_ID, signer=SIGNER, endpoint=ENDPOINT, latency_plot=True
    )
    assert b"](latency.png)" in shown


def test_the_same_envelope_gives_the_same_bytes() -> None:
    again = parse_envelope(ENVELOPE.model_dump_json().encode())
    assert rendered() == rendered(again)


def test_the_hub_has_nothing_against_the_card() -> None:
    assert not card_errors(rendered())
    assert not card_warnings(rendered())


HOSTILE = [
    "org/model: v2\ntags: [evil]",
    "x --- y\n---\n# Owned",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[click](javascript:alert(1)) ![x](https://evil.example/track.png)",
    "a | b | c\n| d | e |",
    "```\n# out of the fence\n```bash\nrm -rf /",
    "`code` *bold* __strong__ ~~gone~~ $x$ https://evil.example www.evil.example @someone",
    "\u202etxt.exe \x00\x1b[31m \u2028 line",
    "}, evil = {\\input{/etc/passwd}",
    "---",
    "1. first",
    "+ more ##",
    "1e5",
    "0x1F",
    "no",
    "{{ 7 * 7 }}{% for x in y %}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_strangers_string_stays_a_string(text: str) -> None:
    document = json.loads(ENVELOPE.model_dump_json())
    document["model"]["id"] = text
    document["engine"].update(name=text, version=text)
    document["dataset"]["id"] = text
    document["warnings"] = [text, text]
    document["driver_options"] = {text: text}
    document["inferencebench_pipeline"]["hardware_class"] = text
    document["inferencebench_pipeline"]["validity"][0].update(name=text, detail=text)
    document["inferencebench_pipeline"]["metric_notes"]["ttft_p99_ms"]["null_reason"] = text
    envelope = Envelope.model_validate(document)
    card = rendered(envelope)
    front = metadata(card)
    assert front["inferencebench"]["model"] == envelope.model.id
    assert front["inferencebench"]["engine"] == envelope.engine.name
    assert front["tags"][:3] == ["benchmark", "inferencebench", "llm"]
    assert not card_errors(card)
    _assert_same_structure(card, rendered())


def _with_every_text(value: Any, text: str) -> Any:
    """Return the document with ``text`` wherever a model accepts any text at all."""
    if isinstance(value, dict):
        return {key: _with_every_text(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_every_text(item, text) for item in value]
    return text if isinstance(value, str) else value


def _hostile(text: str) -> Envelope:
    """Return the envelope with ``text`` in each field that takes it, one after the other."""
    document = json.loads(ENVELOPE.model_dump_json())
    for key in list(document):
        changed_to = {**document, key: _with_every_text(document[key], text)}
        if key == "inferencebench_pipeline":
            continue
        try:
            parse_envelope(json.dumps(changed_to).encode())
            front_matter(ReadEnvelope(Envelope.model_validate(changed_to)), verified=True)
        except (ValueError, PipelineError):
            continue
        document = changed_to
    ours = document["inferencebench_pipeline"]
    for flag in ours["validity"]:
        flag.update(name=text, detail=text)
    for note in ours["metric_notes"].values():
        note.update(unit=text, null_reason=text, interval_null_reason=text)
    ours.update(hardware_class=text, pipeline_version=text, metric_definitions=text)
    return Envelope.model_validate(document)


_MARKS = ["\n", "\n\n", "|", "---", "<", ">", "&", "]", "(", "`", "$", "#", "- ", "> ", "\\", "'"]
_FRAGMENTS = st.sampled_from([*HOSTILE, *_MARKS])


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_FRAGMENTS | st.text(max_size=8), min_size=1, max_size=6).map("".join))
def test_property_no_text_in_an_envelope_breaks_yaml_markdown_or_html(text: str) -> None:
    if not text.strip():
        return
    envelope = _hostile(text)
    card = rendered(envelope)
    front = metadata(card)
    assert set(front) == set(metadata(rendered()))
    assert front["inferencebench"]["model"] == envelope.model.id
    assert not card_errors(card)
    _assert_only_our_html(html_of(card))


class _Elements(HTMLParser):
    """Which elements and attributes a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {(tag, name) for name, _ in attrs} | {(tag, "")}


def _elements(page: str) -> set[tuple[str, str]]:
    parser = _Elements()
    parser.feed(page)
    return parser.found


def _assert_only_our_html(page: str) -> None:
    plain = html_of(rendered())
    assert _elements(page) <= _elements(plain)
    assert page.count("<h2") == plain.count("<h2")
    assert page.count("<table") == plain.count("<table")
    assert page.count("<tr") == plain.count("<tr")


def _assert_same_structure(card: str, plain: str) -> None:
    """The page's blocks, links and HTML are those of a harmless envelope's page."""
    markdown = MarkdownIt("gfm-like", {"linkify": False})

    def shape(text: str) -> list[str]:
        tokens = markdown.parse(page_of(text))
        inline = [child.type for token in tokens for child in token.children or []]
        blocks = [token.type for token in tokens]
        html = [token.content for token in tokens if token.type == "html_block"]
        return [*blocks, *html, *(kind for kind in inline if kind not in {"text", "text_special"})]

    assert shape(card) == shape(plain)
    page = page_of(card)
    assert not re.search(r"\bhttps?://(?!huggingface\.co/datasets/acme/)", _outside_fences(page))


def _outside_fences(page: str) -> str:
    return re.sub(r"^(`{3,})[a-z]+\n.*?^\1$", "", page, flags=re.DOTALL | re.MULTILINE)


@given(st.text(min_size=1, max_size=40).filter(str.strip))
def test_property_any_model_id_survives_in_the_front_matter(model_id: str) -> None:
    document = ENVELOPE.model_dump()
    document["model"] = document["model"] | {"id": model_id}
    envelope = Envelope.model_validate(document)
    card = rendered(envelope)
    front = card[4 : card.index("\n---\n") + 1]
    assert yaml.safe_load(front)["inferencebench"]["model"] == envelope.model.id


@pytest.mark.parametrize("text", ["1e5", "0o17", "0x1F", ".5e3", "12345e678", "+1"])
def test_what_only_a_yaml_1_2_reader_takes_for_a_number_is_quoted(text: str) -> None:
    document = ENVELOPE.model_dump()
    document["engine"] = document["engine"] | {"name": text}
    assert f"  engine: '{text}'\n" in rendered(Envelope.model_validate(document))


def test_every_real_envelope_gets_a_card(shared_data: Path) -> None:
    files = sorted((shared_data / "corpus").rglob("*.json"))
    assert files
    for file in files:
        try:
            envelope = parse_envelope(file.read_bytes())
        except Exception:
            continue
        card = rendered(envelope, signer=None)
        assert metadata(card)["inferencebench"]["model"] == envelope.model.id
        assert not card_errors(card), file


def test_the_engines_own_numbers_stand_beside_ours() -> None:
    assert "own numbers" not in rendered()
    line = {
        "name": "TTFT",
        "unit": "ms",
        "engine": 179.402,
        "engine_n": 11,
        "ours": 185.9467,
        "same_meaning": True,
        "note": "",
    }
    hits = line | {"name": "prefix cache hits", "unit": "tokens", "engine": 0.0, "ours": None}
    audit = {
        "family": "vllm",
        "lines": [line, hits],
        "null_reason": None,
        "before_sha256": "ab" * 32,
        "after_sha256": "cd" * 32,
        "answered_as": [],
    }
    extension = (ENVELOPE.model_extra or {})["inferencebench_pipeline"] | {"audit": audit}
    card = rendered(changed(inferencebench_pipeline=extension))
    assert "| TTFT | 179.40 | 185.95 | ms |" in card
    assert "| prefix cache hits | 0.00 |  | tokens |" in card


def test_a_card_parses_the_extension_once_and_hashes_the_body_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: Counter[str] = Counter()
    parse, dump = PipelineExtension.model_validate, Envelope.model_dump

    def counting_parse(content: object) -> PipelineExtension:
        calls["extension"] += 1
        return parse(content)

    def counting_dump(self: Envelope, **how: Any) -> dict[str, Any]:
        calls["body"] += 1
        return dump(self, **how)

    monkeypatch.setattr(PipelineExtension, "model_validate", counting_parse)
    monkeypatch.setattr(Envelope, "model_dump", counting_dump)
    rendered()
    assert calls == {"extension": 1, "body": 1}


def test_a_number_that_no_float_holds_has_a_row_as_any_other() -> None:
    envelope = changed(metrics=dict(ENVELOPE.metrics) | {"ttft_p50_ms": 10**400})
    (row,) = [each for each in metric_rows(ReadEnvelope(envelope)) if "TTFT p50" in each.label]
    assert row.number is None
    assert row.value in rendered(envelope)
