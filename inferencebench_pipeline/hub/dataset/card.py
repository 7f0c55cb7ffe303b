"""The dataset card of a published run: machine-readable front matter, and a page for people.

The functions are pure: the same envelope gives the same bytes. Every string that comes out of an
envelope is a stranger's, so a YAML writer makes the front matter, and the page escapes HTML and
Markdown.
"""

from __future__ import annotations

import functools
import html
import json
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jinja2
from markupsafe import Markup

from inferencebench_pipeline.envelope import (
    TRACES_FILE,
    Envelope,
    MetricNote,
    MetricValue,
    PipelineExtension,
    ReadEnvelope,
    headline,
)
from inferencebench_pipeline.hub.dataset.verify_command import Proof, verify_instructions
from inferencebench_pipeline.measure import DEFINITIONS
from inferencebench_pipeline.trust import LogPosition, VerifiedSigner
from inferencebench_pipeline.untrusted import printable, visible, write_yaml

ENVELOPE_FILE = "envelope.json"
CARD_FILE = "README.md"
PLOT_FILE = "latency.png"
FIXED_TAGS = ("benchmark", "inferencebench", "llm")
CORPUS_TAG = "inferencebench"
"""The tag a crawl filters on: unknown front-matter keys cannot be searched for, tags can."""

# Categories of the Hub's dataset card (datasetcard.md of hub-docs).
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_NOT_IN_A_TAG = re.compile(r"[^a-z0-9._-]+")
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$^#]")
_BLOCK_MARKER = re.compile(r"^(\d{0,9})([-+=.)])(?=[-=\s]|$)")
"""Text that begins a list, a rule or a heading's underline at the head of a line or an item."""

_KEYLESS = "sigstore-cosign"
"""The method of a signature by an identity; a key has no identity to ask for."""
_SHOWN_WARNINGS = 40
_NAMED_METRICS = 6
_PLAIN_CHARACTERS = 300
_MOST_CHARACTERS = 2000
"""Bounds on a text in the front matter, and in the page; a longer one is cut and says so."""
_COUNTED = frozenset({"request", "token"})
"""Units whose whole numbers are written without decimals."""


def render_card(
    read: ReadEnvelope,
    repo_id: str,
    *,
    signer: VerifiedSigner | None,
    log: LogPosition | None = None,
    endpoint: str,
    latency_plot: bool = False,
) -> bytes:
    """Return the bytes of ``README.md`` for a run's repository.

    Args:
        read: the record.
        repo_id: ``ORG/NAME`` it is published under; it appears in the commands and the citation.
        signer: whom a verdict that passed on these very bytes found to have signed; ``None``
            without one. Nothing in an envelope can say so about itself.
        log: where that verdict found the signature logged.
        endpoint: base URL of the Hub, for the commands and the citation.
        latency_plot: whether ``latency.png`` lies beside the card.

    Raises:
        EnvelopeError: the traces binding or the pipeline's extra field is malformed.
    """
    front = write_yaml(front_matter(read, verified=signer is not None))
    page = _page(
        read, repo_id, signer=signer, log=log, endpoint=endpoint, latency_plot=latency_plot
    )
    return f"---\n{front}---\n\n{page}".encode()


def front_matter(read: ReadEnvelope, *, verified: bool) -> dict[str, Any]:
    """Return the card's metadata: what lists, filters and third-party indexes read.

    Its texts are the envelope's; one that is no name any more is cut.
    """
    envelope, binding = read.envelope, read.traces
    hardware_class = _hardware_class(read.extension)
    signature = envelope.signature
    card: dict[str, Any] = {
        "license": "cc-by-4.0",
        "pretty_name": _bounded(f"{envelope.model.id} · {envelope.suite_id} · {envelope.run_id}"),
        "tags": [
            *FIXED_TAGS,
            f"suite:{_tag(envelope.suite_id)}",
            f"engine:{_tag(envelope.engine.name)}",
            f"hw:{_tag(hardware_class)}",
        ],
    }
    if binding is not None:
        over = f"n>{_SIZES[-1][0] // 1_000_000}M"
        card["size_categories"] = [
            next((name for limit, name in _SIZES if binding.rows < limit), over)
        ]
        # The one configuration makes the Hub's viewer show the traces, and keeps envelope.json out
        # of it.
        card["configs"] = [
            {
                "config_name": "traces",
                "data_files": [{"split": "train", "path": TRACES_FILE}],
            }
        ]
    card["inferencebench"] = {
        "envelope_version": envelope.envelope_version,
        "suite_id": _bounded(envelope.suite_id),
        "suite_version": _bounded(envelope.suite_version),
        "model": _bounded(envelope.model.id),
        "engine": _bounded(envelope.engine.name),
        "hardware_class": _bounded(hardware_class),
        "fingerprint_sha256": envelope.hardware_fingerprint.fingerprint_sha256,
        "signature_verified": verified,
        "rekor_log_index": -1 if signature is None else signature.rekor_log_index,
    }
    return card


@dataclass(frozen=True)
class Row:
    """A metric in a table of the card; the texts are as they are shown, and not escaped yet."""

    label: str
    value: str
    interval: str
    unit: str
    n: str
    number: float | None
    """The value itself; None where it is no number, or one that no float holds."""


@dataclass(frozen=True)
class _Flag:
    word: str
    name: str
    detail: str


def _page(
    read: ReadEnvelope,
    repo_id: str,
    *,
    signer: VerifiedSigner | None,
    log: LogPosition | None,
    endpoint: str,
    latency_plot: bool,
) -> str:
    envelope, extension = read.envelope, read.extension
    signature = envelope.signature
    leading = headline(read)
    return _template().render(
        model=envelope.model.id,
        suite=f"{envelope.suite_id} {envelope.suite_version}",
        signer=signer,
        log_index=-1 if signature is None else signature.rekor_log_index,
        traces=read.traces is not None,
        headline=headline_rows(read),
        metrics=metric_rows(read),
        headline_without_interval=list(_without_interval((row.key for row in leading), extension)),
        without_interval=list(_without_interval(envelope.metrics, extension)),
        latency_plot=latency_plot,
        definitions=extension.metric_definitions if extension else "unknown",
        flags=list(_flags(extension)),
        audit=list(_audit(extension)),
        warnings=list(_warnings(envelope)),
        configuration=list(_configuration(envelope, extension)),
        driver_options=json.dumps(envelope.driver_options, indent=2, sort_keys=True, default=str),
        verification=_verification(repo_id, Proof(signer, log), endpoint),
        content_hash=read.content_hash,
        citation=_citation(read, repo_id, endpoint),
    )


def card_title(read: ReadEnvelope) -> str:
    """Return the heading of the card's page: the model and the suite."""
    envelope = read.envelope
    return f"{envelope.model.id} · {envelope.suite_id} {envelope.suite_version}"


def headline_rows(read: ReadEnvelope) -> list[Row]:
    """Return the rows of the card's first table: the headline metrics in their order."""
    return [
        Row(
            label=row.label,
            value=_value(row.value, row.unit, row.null_reason),
            interval=_interval(_note(read.extension, row.key)),
            unit=row.unit,
            n=_count(row.n),
            number=_number(row.value),
        )
        for row in headline(read)
    ]


def metric_label(key: str) -> str:
    """Return what a table of metrics calls the metric of this key."""
    return DEFINITIONS[key].label if key in DEFINITIONS else key


def metric_rows(read: ReadEnvelope) -> list[Row]:
    """Return the rows of the card's second table: all metrics in the envelope's order."""
    rows = []
    for key, value in read.envelope.metrics.items():
        note, definition = _note(read.extension, key), DEFINITIONS.get(key)
        unit = note.unit if note else (definition.unit if definition else "")
        rows.append(
            Row(
                label=metric_label(key),
                value=_value(value, unit, note.null_reason if note else None),
                interval=_interval(note),
                unit=unit,
                n=_count(note.n if note else None),
                number=_number(value),
            )
        )
    return rows


def _number(value: MetricValue) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def _note(extension: PipelineExtension | None, key: str) -> MetricNote | None:
    return extension.metric_notes.get(key) if extension else None


def _interval(note: MetricNote | None) -> str:
    if note is None or note.interval is None:
        return ""
    low, high = (_value(end, note.unit, None) for end in (note.interval.low, note.interval.high))
    return f"{low} to {high}"


def _without_interval(
    keys: Iterable[str], extension: PipelineExtension | None
) -> Iterator[tuple[str, str]]:
    """Yield each reason why metrics have a value and no interval, and which these are."""
    lacking: dict[str, list[str]] = {}
    for key in keys:
        note = _note(extension, key)
        if note is not None and note.interval is None and note.interval_null_reason:
            label = DEFINITIONS[key].label if key in DEFINITIONS else key
            lacking.setdefault(note.interval_null_reason, []).append(label)
    for reason, labels in lacking.items():
        named = ", ".join(labels) if len(labels) <= _NAMED_METRICS else f"{len(labels)} metrics"
        yield reason, named


def _flags(extension: PipelineExtension | None) -> Iterator[_Flag]:
    words = {"error": "Failed:", "warn": "Caution:"}
    for flag in extension.validity if extension else ():
        word = "Passed:" if flag.ok else words[flag.severity]
        yield _Flag(word=word, name=flag.name.replace("_", " "), detail=flag.detail)


@dataclass(frozen=True)
class _Audited:
    name: str
    engine: str
    ours: str
    unit: str


def _audit(extension: PipelineExtension | None) -> Iterator[_Audited]:
    """Yield the engine's own numbers beside ours, when it gave any."""
    audit = extension.audit if extension else None
    for line in audit.lines if audit else ():
        yield _Audited(
            name=f"{line.name} ({line.note})" if line.note else line.name,
            engine=f"{line.engine:,.2f}",
            ours="" if line.ours is None else f"{line.ours:,.2f}",
            unit=line.unit,
        )


def _warnings(envelope: Envelope) -> Iterator[str]:
    yield from envelope.warnings[:_SHOWN_WARNINGS]
    if (more := len(envelope.warnings) - _SHOWN_WARNINGS) > 0:
        yield f"and {more} more, in {ENVELOPE_FILE}"


def _configuration(
    envelope: Envelope, extension: PipelineExtension | None
) -> Iterator[tuple[str, str]]:
    hardware, engine = envelope.hardware_fingerprint, envelope.engine
    yield "Model", f"{envelope.model.id} at {envelope.model.revision}"
    if envelope.quantization is not None:
        parts = (envelope.quantization.format, envelope.quantization.method)
        yield "Quantization", ", ".join(part for part in parts if part)
    yield "Provider", envelope.model.provider
    yield "Engine", f"{engine.name} {engine.version}"
    yield "Hardware class", _hardware_class(extension)
    gpus = [gpu.model for gpu in hardware.gpus]
    yield (
        "GPUs",
        ", ".join(f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)) or "none",
    )
    yield "CPU", hardware.cpu.model
    yield "Dataset", envelope.dataset.id
    yield "Seed", str(envelope.seed)
    yield "SLO", envelope.slo_template or "none"
    yield "Finished", _in_utc(envelope.timestamp).isoformat().replace("+00:00", "Z")
    yield "Run", envelope.run_id
    if extension is not None:
        yield "Pipeline", f"inferencebench-pipeline {extension.pipeline_version}"


def _verification(repo_id: str, proof: Proof, endpoint: str) -> str:
    """Return the commands; they name the signer, since without one anybody's signature would do."""
    place, theirs = f"hf://datasets/{repo_id}/{ENVELOPE_FILE}", ""
    if proof.signer is not None and proof.signer.method == _KEYLESS:
        # Upstream's tool takes a pattern. Without both anchors a longer identity would pass as
        # well.
        pattern = shlex.quote(f"^{re.escape(_one_line(proof.signer.identity))}$")
        issuer = shlex.quote(_one_line(proof.signer.issuer))
        theirs = f" \\\n    --require-issuer {issuer} \\\n    --require-identity-pattern {pattern}"
    return "\n".join(
        [
            "# the record, its signature, the log proof, and the metrics from the traces",
            verify_instructions(place, repo_id.partition("/")[0], proof, endpoint=endpoint),
            "",
            "# or with the benchmark's own tool",
            "pip install inferencebench",
            f"bench verify {place}{theirs}",
            "# (a release that cannot read hf:// yet takes the downloaded file:)",
            f"hf download {repo_id} {ENVELOPE_FILE} --repo-type dataset --local-dir .",
            f"bench verify {ENVELOPE_FILE}{theirs}",
        ]
    )


def _citation(read: ReadEnvelope, repo_id: str, endpoint: str) -> str:
    envelope = read.envelope
    organisation, _, name = repo_id.partition("/")
    title = _tex(f"{envelope.model.id} on {envelope.suite_id} {envelope.suite_version}")
    return (
        f"@misc{{{re.sub(r'[^A-Za-z0-9]+', '-', name)},\n"
        f"  title        = {{{title}}},\n"
        f"  author       = {{{{{_tex(organisation)}}}}},\n"
        f"  year         = {{{_in_utc(envelope.timestamp).year}}},\n"
        f"  howpublished = {{\\url{{{endpoint}/datasets/{repo_id}}}}},\n"
        f"  note         = {{Signed benchmark record, SHA-256 {read.content_hash}}}\n"
        "}"
    )


def _in_utc(moment: datetime) -> datetime:
    """Return an instant in UTC; as it is written where UTC has no such year."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment


def _hardware_class(extension: PipelineExtension | None) -> str:
    return extension.hardware_class if extension else "unknown"


def _tag(text: str) -> str:
    return _NOT_IN_A_TAG.sub("-", text.lower())[:_PLAIN_CHARACTERS].strip("-") or "unknown"


def _value(value: MetricValue, unit: str, null_reason: str | None) -> str:
    if value is None:
        return f"not reported ({null_reason})" if null_reason else "not reported"
    if isinstance(value, str | int):
        return str(value)
    if value.is_integer() and unit in _COUNTED:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f}" if abs(value) >= 1 else f"{value:.3g}"


def _count(n: int | None) -> str:
    return "" if n is None else f"{n:,}"


def _one_line(text: str) -> str:
    """Return ``text`` without line breaks and without characters that draw nothing or reorder."""
    spaced = " ".join(str(text).split())
    shown = "".join(mark for mark in spaced if unicodedata.category(mark)[0] != "C")
    return printable(shown, _MOST_CHARACTERS)


def _md(text: str) -> Markup:
    """Return ``text`` as Markdown that renders as these very characters, in a cell or a line."""
    safe = _MARKDOWN.sub(lambda found: f"\\{found[0]}", html.escape(_one_line(text), quote=False))
    safe = _BLOCK_MARKER.sub(r"\1\\\2", safe)
    # Nor does a bare address, host or handle become a link.
    safe = safe.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")
    return Markup(safe)  # noqa: S704 - escaped above


def _fence(text: str, language: str) -> Markup:
    """Return ``text`` in a fence longer than any run of back-ticks in it: nothing ends it early."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return Markup(f"{ticks}{language}\n{visible(text)}\n{ticks}")  # noqa: S704 - a fence is verbatim


def _tex(text: str) -> str:
    names = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(
        r"[\\~^{}$&#%_]", lambda found: names.get(found[0], f"\\{found[0]}"), _one_line(text)
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("inferencebench_pipeline.hub.dataset"),
        autoescape=True,
        # A name that the template misspells is an error, and not an empty place in a published
        # card.
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(md=_md, fence=_fence)
    return environment.get_template("dataset_card.md.jinja")


def _bounded(text: str) -> str:
    return text if len(text) <= _PLAIN_CHARACTERS else printable(text, _PLAIN_CHARACTERS)
