"""A verdict as a tree of questions about the record, with the checks, their names and evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.text import Text

from inferencebench_pipeline.cli.layout import lines_of, rows_of
from inferencebench_pipeline.cli.verification.check_words import sentence_of
from inferencebench_pipeline.cli.verification.verdict_page import (
    MARKS,
    OUTCOME_STYLES,
    basis_lines,
    last_line,
    subject_lines,
)
from inferencebench_pipeline.cli.verification.verdict_report import VerdictReport
from inferencebench_pipeline.trust import Check, CheckStatus, FailureClass

_MEANING: Final = {
    FailureClass.MALFORMED: "This is no record, or one that cannot be read.",
    FailureClass.UNSIGNED: "Nobody has signed this. It may be true, but there is no proof.",
    FailureClass.TAMPERED: "The record differs from the one that was signed.",
    FailureClass.SIGNATURE_INVALID: "The proof of who signed it, and when, does not hold.",
    FailureClass.IDENTITY_NOT_ALLOWED: "The signer may not sign for this organisation.",
    FailureClass.TRACES_MISMATCH: "The raw data beside it is not the data that was signed.",
    FailureClass.METRICS_DO_NOT_REDERIVE: (
        "The record was not tampered with, but the signed raw data gives other numbers than those "
        "that were signed."
    ),
    FailureClass.NEWER_THAN_VERIFIER: (
        "A later release made this record, and this one cannot judge it; install a newer one."
    ),
    FailureClass.TRACES_MISSING: (
        "Nothing contradicts the record, but the raw data that it binds was not there to check."
    ),
    FailureClass.TRACES_CONTRADICT: (
        "The raw data beside it is the data that was signed, and says another thing about the run."
    ),
    FailureClass.TIME_CONTRADICTS: "The record tells of a time after it was signed.",
    FailureClass.PLACE_DISAGREES: (
        "The record is genuine, and it is not the one that was asked for, or that this place or "
        "its card claims to hold."
    ),
}


@dataclass
class Branch:
    """A text of the tree, and what belongs to it."""

    text: Text
    branches: list[Branch] = field(default_factory=list)

    def add(self, text: Text) -> Branch:
        """Add a branch and return it."""
        self.branches.append(Branch(text))
        return self.branches[-1]

    def lines(self, out: Console, guide: str = "") -> Iterator[Text]:
        """Yield the lines of the tree, each behind the guides of the branches around it."""
        head = guide[:-4] + _TURN[guide[-4:]] if guide else ""
        rest = guide + "│   " * bool(guide and self.branches)
        room = max(out.width, _NARROWEST) - len(rest)
        for number, line in enumerate(lines_of(self.text, room, out)):
            yield Text(rest if number else head, style="dim") + line
        for branch in self.branches:
            last = branch is self.branches[-1]
            yield from branch.lines(out, guide + ("    " if last else "│   "))


_TURN: Final = {"    ": "└── ", "│   ": "├── "}
_NARROWEST: Final = 60


def print_tree(report: VerdictReport, out: Console) -> None:
    """Print a report with each check, its evidence and what it means."""
    for line in _lines(report, out):
        out.print(line, soft_wrap=True)


def _lines(report: VerdictReport, out: Console) -> Iterator[Text]:
    meaning = "" if report.failure_class is None else _MEANING[report.failure_class]
    yield _headline(report)
    if meaning:
        yield from rows_of([(Text(), Text(meaning))], 0, out)
    yield from subject_lines(report, out)
    yield from _tree(report).lines(out)
    yield Text()
    yield from basis_lines(report, out)
    yield from rows_of([(Text(), last_line(report))], 0, out)


def _tree(report: VerdictReport) -> Branch:
    tree = Branch(Text("The checks"))
    made = {check.name: check for check in report.checks}
    for answer in report.answers:
        mark, style = MARKS[answer.status]
        branch = tree.add(
            Text.assemble((f"{mark} ", style), (answer.asked, "bold"), f"  {answer.said}")
        )
        for name in answer.checks:
            _add_check(branch, made.pop(name))
    for check in made.values():
        _add_check(tree, check)
    under = tree.add(Text(f"Judged by verifier {report.verifier_version}", style="dim"))
    under.add(Text(f"trust root {report.trust_root.place}", style="dim"))
    return tree


def _headline(report: VerdictReport) -> Text:
    text = Text(str(report.outcome).upper(), style=OUTCOME_STYLES[report.outcome])
    if report.failure_class is not None:
        text.append(f"  {report.failure_class}", style="red")
    return text


def _add_check(branch: Branch, check: Check) -> None:
    mark, style = MARKS[check.status]
    said = check.detail if check.status is CheckStatus.SKIPPED else sentence_of(check)
    leaf = branch.add(Text.assemble((f"{mark} {check.name}: ", style), said))
    if check.status is not CheckStatus.SKIPPED:
        leaf.add(Text(check.detail, style="dim"))
    for name, value in check.evidence.items():
        leaf.add(Text(f"{name} = {value}", style="dim"))
