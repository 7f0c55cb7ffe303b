"""The page that ``verify`` prints for people: the record, five answers, the verdict as last line.

Nothing of the record begins a line (``layout``). The last line holds our own words only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.text import Text

from inferencebench_pipeline.cli.layout import Row, rows_of
from inferencebench_pipeline.cli.verification.check_words import sentence_of
from inferencebench_pipeline.cli.verification.verdict_report import (
    MetricFact,
    RecordFacts,
    VerdictReport,
    hardware_of,
    moment,
)
from inferencebench_pipeline.trust import CheckStatus, FailureClass, Outcome
from inferencebench_pipeline.untrusted import printable

OUTCOME_STYLES: Final = {
    Outcome.VERIFIED: "bold green",
    Outcome.REJECTED: "bold red",
    Outcome.INCOMPLETE: "bold yellow",
    Outcome.NEWER: "bold yellow",
}
MARKS: Final = {
    CheckStatus.PASSED: ("✓", "green"),
    CheckStatus.FAILED: ("✗", "bold red"),
    CheckStatus.SKIPPED: ("–", "yellow"),
}
_LABELS: Final = 12
"""Cells of the column of labels."""
_QUESTIONS: Final = 27
"""Cells of the column of questions."""
_KEY: Final = "dev-key"
_LARGEST_FLOAT: Final = sys.float_info.max


def print_page(report: VerdictReport, out: Console) -> None:
    """Print a report for people."""
    for line in _lines(report, out):
        out.print(line, soft_wrap=True)


def last_line(report: VerdictReport) -> Text:
    """Return the outcome and its reason, in words that are all our own."""
    word = str(report.outcome).upper()
    return Text.assemble((word, OUTCOME_STYLES[report.outcome]), f": {_because(report)}")


def subject_lines(report: VerdictReport, out: Console) -> Iterator[Text]:
    """Yield the lines on what the record is, and on who signed it."""
    yield from rows_of([_row("Place", report.where)], _LABELS, out)
    if report.record is not None:
        if not report.record.proven:
            yield Text()
            yield Text("The record says (not proven):", style="yellow")
        yield from rows_of(_record_rows(report.record, report), _LABELS, out)
    if report.signer is not None:
        if report.record is None or not report.record.proven:
            yield Text()
            yield Text("The signature:")
        yield from rows_of(_signature_rows(report), _LABELS, out)
    yield Text()


def basis_lines(report: VerdictReport, out: Console) -> Iterator[Text]:
    """Yield the lines on the trust root and the policy that the verdict was reached under."""
    yield from rows_of(_basis_rows(report), _LABELS, out)
    for warning in report.warnings:
        yield from rows_of([(Text("Warning", style="yellow"), Text(warning))], _LABELS, out)
    yield Text()


def _lines(report: VerdictReport, out: Console) -> Iterator[Text]:
    yield from subject_lines(report, out)
    yield from rows_of(_answer_rows(report), _QUESTIONS, out)
    yield Text()
    yield from basis_lines(report, out)
    yield from rows_of([(Text(), last_line(report))], 0, out)


def _record_rows(record: RecordFacts, report: VerdictReport) -> Iterator[Row]:
    weights = "" if record.quantization is None else f", {record.quantization}"
    yield _row("Model", f"{record.model} (revision {record.model_revision}{weights})")
    yield _row("Engine", f"{record.engine} {record.engine_version}")
    yield _row("Hardware", hardware_of(record))
    yield _row("Measured", moment(record.measured_at))
    yield _row("Run", record.run_id)
    yield _row("Workload", f"{record.workload} ({record.suite})")
    yield _row("Load", record.load)
    label = "Results"
    for line in _metric_lines(record.metrics):
        yield _row(label, line)
        label = ""
    if report.outcome is Outcome.INCOMPLETE:
        yield _row("", "as signed; not computed again")


def _metric_lines(metrics: tuple[MetricFact, ...]) -> Iterator[str]:
    names = max((len(metric.label) for metric in metrics), default=0)
    values = max((len(_number(metric.value)) for metric in metrics), default=0)
    for metric in metrics:
        line = f"{metric.label:{names}}  {_number(metric.value):>{values}} {metric.unit}".rstrip()
        if metric.value is None:
            why = f" ({metric.null_reason})" if metric.null_reason else ""
            yield f"{metric.label:{names}}  not measured{why}"
        elif metric.low is None or metric.high is None:
            yield line
        else:
            sure = "" if metric.confidence is None else f", {metric.confidence:.0%}"
            yield f"{line}  ({_number(metric.low)} to {_number(metric.high)}{sure})"


def _number(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int) and abs(value) > _LARGEST_FLOAT:
        return f"a whole number of {len(str(abs(value)))} digits"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f}" if 1 <= abs(value) < 1e15 else f"{value:.4g}"


def _signature_rows(report: VerdictReport) -> Iterator[Row]:
    signer, log = report.signer, report.log
    assert signer is not None
    if signer.method == _KEY:
        yield _row("Signed by", f"the development key {printable(signer.identity)}")
    else:
        yield _row("Signed by", printable(signer.identity, 2_000))
        yield _row("", f"vouched for by {printable(signer.issuer, 2_000)}")
    yield _row("For", report.organisation or "any organisation that the policy names")
    if report.signed_at is not None:
        yield _row("Signed", f"not later than {moment(report.signed_at)}")
    if log is not None:
        yield _row("Log entry", str(log.index))
        yield _row("of log", log.log_id)


def _answer_rows(report: VerdictReport) -> Iterator[Row]:
    for answer in report.answers:
        mark, style = MARKS[answer.status]
        yield Text.assemble((mark, style), f" {answer.asked}"), Text(answer.said)


def _basis_rows(report: VerdictReport) -> Iterator[Row]:
    root, policy = report.trust_root, report.policy
    age = "" if root.age_days is None else f", confirmed {_days(root.age_days)}"
    yield _row("Trust root", f"{printable(root.name)}{age}")
    yield _row("sha256", root.sha256)
    yield _row("Policy", printable(policy.name, 2_000))
    yield _row("sha256", policy.sha256)


def _days(age: int) -> str:
    return {0: "today", 1: "yesterday"}.get(age, f"{age} days ago")


def _row(label: str, text: str) -> Row:
    return Text(label, style="bold" if label[:1].isupper() else "dim"), Text(text)


def _because(report: VerdictReport) -> str:
    if report.outcome is Outcome.VERIFIED:
        if report.record is not None and "passed" not in _status_of(report, "rederive"):
            return "the signature holds; the record binds no raw data to check its numbers with."
        return "the signature holds, and every number follows from the raw data."
    if report.outcome is Outcome.INCOMPLETE:
        why = next(item.said for item in report.answers if item.question == "rederive")
        return f"the signature holds, but the numbers were not checked. {why}"
    if report.outcome is Outcome.NEWER:
        return "a later release made this record; install a newer one to judge it."
    failed = next((it for it in report.checks if it.status is CheckStatus.FAILED), None)
    said = "a check failed." if failed is None else f"{sentence_of(failed)} ({failed.name})"
    if report.failure_class == FailureClass.PLACE_DISAGREES:
        return f"the record is genuine, but another one than was asked for. {said}"
    return said


def _status_of(report: VerdictReport, question: str) -> str:
    return next((str(item.status) for item in report.answers if item.question == question), "")
