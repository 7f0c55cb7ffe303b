"""The checks of one verification, in their order; the first failure ends it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from inferencebench_pipeline.trust.verify.bundle import BundleRejectedError
from inferencebench_pipeline.trust.verify.verdict import (
    Check,
    CheckStatus,
    FailureClass,
    Outcome,
    outcome_of,
)
from inferencebench_pipeline.untrusted import printable

_DETAIL_CHARACTERS = 600
_MOST_CHARACTERS = 4000
"""Bound on a check's own text, such as the list of all metrics that differ."""


class RejectedError(Exception):
    """A check failed: the record ends here."""

    def __init__(self, check: str, failure: FailureClass, detail: str) -> None:
        super().__init__(_line(detail))
        self.check = check
        self.failure = failure


class RunningCheck:
    """One check being made: what its body finds, and how the body ends it.

    Passed when the body returns, failed whatever it raises.
    """

    __slots__ = ("_checklist", "_failure", "_name", "detail", "evidence")

    def __init__(self, checklist: Checklist, name: str, failure: FailureClass) -> None:
        self._checklist = checklist
        self._name = name
        self._failure = failure
        self.detail = ""
        self.evidence: dict[str, str] = {}

    def note(self, detail: str, **evidence: object) -> None:
        """Say in one sentence what was found, with the values it rests on."""
        self.detail = detail
        self.evidence = {name: str(value) for name, value in evidence.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._checklist.add(self._name, CheckStatus.PASSED, self.detail, self.evidence)
        elif isinstance(error, RejectedError):
            self._checklist.add(self._name, CheckStatus.FAILED, str(error), self.evidence)
        # An interrupt from the keyboard is no result of a check, and goes on upwards.
        elif isinstance(error, Exception):
            detail = _describe(error)
            # What cannot be judged has not failed.
            rejected = outcome_of(self._failure) is Outcome.REJECTED
            status = CheckStatus.FAILED if rejected else CheckStatus.SKIPPED
            self._checklist.add(self._name, status, detail, self.evidence | _cause(error))
            raise RejectedError(self._name, self._failure, detail) from error


class Checklist:
    """The checks of one verification, in the order they are made."""

    def __init__(self) -> None:
        self._made: list[tuple[str, CheckStatus, str, dict[str, str]]] = []

    @property
    def checks(self) -> list[Check | dict[str, object]]:
        """The checks so far, with what they quote of the record made printable.

        Those with evidence are plain data until the verdict is made of them all.
        """
        quoted: list[str] = []
        for _, _, detail, evidence in self._made:
            if evidence:
                quoted.append(detail)
                quoted += evidence.values()
        # One look at all of it together; nearly every record is harmless as it stands.
        longest = max(map(len, quoted), default=0)
        harmless = longest <= _DETAIL_CHARACTERS and "".join(quoted).isprintable()
        return [
            {
                "name": name,
                "status": status,
                "detail": detail if harmless else _line(detail),
                "evidence": evidence if harmless else {k: _line(v) for k, v in evidence.items()},
            }
            if evidence
            else _plain_check(name, status, _line(detail))
            for name, status, detail, evidence in self._made
        ]

    def check(self, name: str, failure: FailureClass) -> RunningCheck:
        """Return one check to make in a ``with``; it raises nothing but :class:`RejectedError`."""
        return RunningCheck(self, name, failure)

    @contextlib.contextmanager
    def checks_in_one(
        self, names: Sequence[str], details: dict[str, str], failure: FailureClass
    ) -> Iterator[dict[str, dict[str, str]]]:
        """Record several checks that one call makes in the order of ``names``.

        Yields what the body may fill with each check's evidence.

        Raises:
            RejectedError: naming the check that the body's ``BundleRejectedError`` names; the
                first for anything else that the body raised.
        """
        evidence: dict[str, dict[str, str]] = {}
        try:
            yield evidence
        except BundleRejectedError as error:
            # The call makes its checks in this order, so those before the failed one have passed.
            for name in names[: names.index(error.check)]:
                self.add(name, CheckStatus.PASSED, details[name], {})
            self.add(error.check, CheckStatus.FAILED, _describe(error), _cause(error))
            raise RejectedError(error.check, failure, _describe(error)) from error
        except Exception as error:
            self.add(names[0], CheckStatus.FAILED, _describe(error), _cause(error))
            raise RejectedError(names[0], failure, _describe(error)) from error
        for name in names:
            self.add(name, CheckStatus.PASSED, details[name], evidence.get(name, {}))

    def skip(self, names: Sequence[str], reason: str) -> None:
        """Record checks that were not made, and why."""
        for name in names:
            self.add(name, CheckStatus.SKIPPED, reason, {})

    def skip_rest(self, names: Sequence[str], reason: str) -> None:
        """Record every check of ``names`` that has no result yet as not made."""
        made = {name for name, *_ in self._made}
        self.skip([name for name in names if name not in made], reason)

    def add(self, name: str, status: CheckStatus, detail: str, evidence: dict[str, str]) -> None:
        """Record the result of one check."""
        self._made.append((name, status, detail, evidence))


@functools.lru_cache(maxsize=256)
def _plain_check(name: str, status: CheckStatus, detail: str) -> Check:
    """Return a check without evidence; most are the same in every verdict."""
    return Check(name=name, status=status, detail=detail)


def _cause(error: Exception) -> dict[str, str]:
    """Return the class of what was raised, for the evidence: the text alone may not say."""
    return {"error": type(error.__cause__ or error).__name__}


def _describe(error: Exception) -> str:
    """Return the error's text on one line, bounded: it may quote the input."""
    return printable(error, _DETAIL_CHARACTERS) or type(error).__name__


def _line(text: str) -> str:
    """Return a text as it is where that is harmless, which nearly every one is."""
    if text.isprintable() and len(text) <= _DETAIL_CHARACTERS:
        return text
    return printable(text, _MOST_CHARACTERS)
