"""The checks of a verdict in a person's words: five questions, and a sentence for each check.

The names of the checks are for programs, and stay in the JSON and in ``explain``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inferencebench_pipeline.trust import Check, CheckStatus


@dataclass(frozen=True)
class Words:
    """The meaning of a check.

    Attributes:
        holds: the sentence that is true when the check has passed.
        fails: the sentence that is true when it has failed.
    """

    holds: str
    fails: str


@dataclass(frozen=True)
class Question:
    """A question about a record, and the checks that answer it.

    Attributes:
        key: its name for programs.
        asked: the question as a person asks it.
        checks: the words of each check, by its name and in the order of verification.
    """

    key: str
    asked: str
    checks: dict[str, Words]


WHAT: Final = Question(
    "what",
    "What was signed?",
    {
        "schema": Words(
            "The file is a record that says nothing twice.",
            "The file is no record that can be read.",
        ),
        "content_hash": Words(
            "The content hash was computed again from the record.",
            "The content hash cannot be computed from the record.",
        ),
        "signature_present": Words(
            "The record carries a signature.",
            "Nobody has signed the record.",
        ),
        "bundle_format": Words(
            "The signature is a Sigstore bundle.",
            "The signature is no Sigstore bundle that can be read.",
        ),
        "bundle_covers_content_hash": Words(
            "The signature is over this very content.",
            "The signature is over another content than this.",
        ),
        "dev_key_signature": Words(
            "The pinned key signed this very content.",
            "The pinned key did not sign this content.",
        ),
    },
)
WHO: Final = Question(
    "who",
    "Who signed it?",
    {
        "bundle_verifies": Words(
            "An authority that you trust certified the signer's key, and the signature is its own.",
            "The certificate, the signature, its time or its proof does not verify.",
        ),
        "certificate_identity": Words(
            "The certificate names one signer, and one issuer that vouches for it.",
            "The certificate does not name one signer and one issuer.",
        ),
        "envelope_names_certificate": Words(
            "The certificate that the record shows is the one that signed.",
            "The certificate that the record shows is not the one that signed.",
        ),
        "identity_policy": Words(
            "Your policy lets this signer speak.",
            "Your policy does not let this signer speak.",
        ),
    },
)
WHEN: Final = Question(
    "when",
    "When was it signed?",
    {
        "timestamps_verify": Words(
            "A clock that you trust saw the signature at that time, and no timestamp is false.",
            "A timestamp of the signature does not verify.",
        ),
        "key_windows": Words(
            "Every key was valid at that time.",
            "A key was not valid at that time.",
        ),
        "run_before_signature": Words(
            "The run ended before it was signed.",
            "The record tells of a time after it was signed.",
        ),
    },
)
WHERE: Final = Question(
    "where",
    "Where is it logged?",
    {
        "log_known": Words(
            "The log is one that you trust, and it signed its own state.",
            "The log is not one that you trust, or did not sign its own state.",
        ),
        "checkpoint_size": Words(
            "The signed state of the log is the one that the proof leads to.",
            "The signed state of the log is not the one that the proof leads to.",
        ),
        "log_index_proven": Words(
            "The entry's place in the log is proven.",
            "The entry's place in the log is not proven.",
        ),
        "envelope_names_log_index": Words(
            "The place that the record shows is the one that is proven.",
            "The place that the record shows is not the one that is proven.",
        ),
    },
)
REDERIVE: Final = Question(
    "rederive",
    "Do the numbers follow?",
    {
        "versions_known": Words(
            "This version knows the definitions that the record names.",
            "The record names a schema or definitions that this version does not know.",
        ),
        "traces_hash": Words(
            "The raw data is the file that was signed.",
            "The raw data is not the file that was signed.",
        ),
        "traces_readable": Words(
            "The raw data is whole.",
            "The raw data is not whole, or in a form that this version does not read.",
        ),
        "traces_agree": Words(
            "The raw data says the same of the run as the record.",
            "The raw data says another thing of the run than the record.",
        ),
        "metrics_rederive": Words(
            "Every number, computed again from the raw data, equals the signed one.",
            "Numbers that were computed again from the raw data differ from the signed ones.",
        ),
    },
)
ASKED: Final = Question(
    "asked",
    "Is it the one asked for?",
    {
        "place_agrees": Words(
            "The repository's name and its card say what the record says.",
            "The repository's name or its card says another thing than the record.",
        ),
        "expected_record": Words(
            "The record is the one that you expect.",
            "The record is not the one that you expect.",
        ),
    },
)
QUESTIONS: Final = (WHAT, WHO, WHEN, WHERE, REDERIVE, ASKED)
"""The questions in the order of their answers; the last one is only for who names more."""

_WORDS: Final = {name: words for question in QUESTIONS for name, words in question.checks.items()}


def sentence_of(check: Check) -> str:
    """Return what became of a check, as a sentence that quotes nothing of the record."""
    words = _WORDS.get(check.name)
    if check.status is CheckStatus.SKIPPED or words is None:
        return f"The check {check.name} was {check.status}."
    return words.holds if check.status is CheckStatus.PASSED else words.fails


_SAID: Final = frozenset({"signature_present", "envelope_names_certificate", "dev_key_signature"})
"""Checks whose detail says the same as the sentence, and has no value to add."""


def failure_of(check: Check) -> str:
    """Return why a check failed: the sentence, and then the values, which may be a stranger's."""
    said = sentence_of(check)
    return said if check.name in _SAID else f"{said} {detail_of(check)}"


def detail_of(check: Check) -> str:
    """Return a check's detail, which begins small and has no full stop, as a sentence."""
    text = check.detail
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def answer_of(checks: list[Check]) -> CheckStatus:
    """Return the answer to a question: failed if a check of it is, passed if all of them are."""
    statuses = {check.status for check in checks}
    if CheckStatus.FAILED in statuses:
        return CheckStatus.FAILED
    return CheckStatus.PASSED if statuses == {CheckStatus.PASSED} else CheckStatus.SKIPPED
