"""A verdict as a tree of questions about the record, with the answers and their evidence."""

from __future__ import annotations

from typing import Final

from rich.text import Text
from rich.tree import Tree

from inferencebench_pipeline.trust import Check, CheckStatus, FailureClass, Verdict

_QUESTIONS: Final = (
    ("Is it a record?", ("schema", "content_hash", "signature_present")),
    (
        "Was it changed after it was signed?",
        ("bundle_format", "bundle_covers_content_hash", "dev_key_signature"),
    ),
    (
        "Does the proof hold?",
        (
            "bundle_verifies",
            "timestamps_verify",
            "log_known",
            "checkpoint_size",
            "log_index_proven",
            "key_windows",
            "run_before_signature",
            "envelope_names_certificate",
            "envelope_names_log_index",
        ),
    ),
    (
        "May the signer speak for it?",
        ("certificate_identity", "identity_policy"),
    ),
    (
        "Do the numbers follow from the raw data?",
        ("versions_known", "traces_hash", "traces_readable", "traces_agree", "metrics_rederive"),
    ),
)
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
        "The record is genuine, and it is not the one that this place or its card claims to hold."
    ),
}
_MARKS: Final = {
    CheckStatus.PASSED: ("✓", "green"),
    CheckStatus.FAILED: ("✗", "bold red"),
    CheckStatus.SKIPPED: ("–", "dim"),
}


def verdict_tree(where: str, verdict: Verdict) -> Tree:
    """Return a verdict as a tree of five questions, the checks that answer them, and evidence."""
    tree = Tree(_headline(verdict))
    tree.add(Text(where))
    if verdict.failure_class is not None:
        tree.add(Text(_MEANING[verdict.failure_class]))
    _add_facts(tree, verdict)
    checks = {check.name: check for check in verdict.checks}
    for question, names in _QUESTIONS:
        # A verdict lists only the checks that apply to its kind of signature.
        asked = [checks[name] for name in names if name in checks]
        if asked:
            branch = tree.add(_answered(question, asked))
            for check in asked:
                _add_check(branch, check)
    return tree


def _headline(verdict: Verdict) -> Text:
    style = "bold green" if verdict.ok else "bold red"
    text = Text("VERIFIED" if verdict.ok else "REJECTED", style=style)
    if verdict.failure_class is not None:
        text.append(f"  {verdict.failure_class}", style="red")
    return text


def _add_facts(tree: Tree, verdict: Verdict) -> None:
    if verdict.signer is not None:
        tree.add(Text(f"signed by {verdict.signer.identity} ({verdict.signer.issuer})"))
    if verdict.signed_at is not None:
        tree.add(Text(f"not later than {verdict.signed_at.isoformat()}"))
    if verdict.log is not None:
        tree.add(Text(f"entry {verdict.log.index} of log {verdict.log.log_id}"))
    under = tree.add(Text(f"judged by verifier {verdict.verifier_version}", style="dim"))
    under.add(Text(f"policy {verdict.policy_sha256}", style="dim"))
    under.add(Text(f"trust root {verdict.trust_root_sha256}", style="dim"))


def _answered(question: str, checks: list[Check]) -> Text:
    statuses = {check.status for check in checks}
    if CheckStatus.FAILED in statuses:
        status, answer = CheckStatus.FAILED, "answered against the record"
    elif statuses == {CheckStatus.PASSED}:
        status, answer = CheckStatus.PASSED, "answered for the record"
    else:
        status, answer = CheckStatus.SKIPPED, "not fully examined"
    mark, style = _MARKS[status]
    return Text.assemble((f"{mark} ", style), (question, "bold"), (f"  {answer}", "dim"))


def _add_check(branch: Tree, check: Check) -> None:
    mark, style = _MARKS[check.status]
    leaf = branch.add(Text.assemble((f"{mark} {check.name}: ", style), check.detail))
    for name, value in check.evidence.items():
        leaf.add(Text(f"{name} = {value}", style="dim"))
