"""The document that ``verify --json`` prints: a verdict, its subject, and what it rests on.

The page for people is made from it, so that both say the same. ``specs/verdict.schema.json`` is its
JSON Schema.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from pydantic import AwareDatetime, Field

from inferencebench_pipeline.cli.targets import Target
from inferencebench_pipeline.cli.verification.check_words import (
    ASKED,
    QUESTIONS,
    REDERIVE,
    WHAT,
    WHEN,
    WHERE,
    WHO,
    Question,
    answer_of,
    detail_of,
    failure_of,
)
from inferencebench_pipeline.cli.verification.exit_codes import ExitCode, exit_code_of
from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.envelope import (
    TRACES_FILE,
    EnvelopeError,
    MetricValue,
    ReadEnvelope,
    headline,
    read_unambiguous,
)
from inferencebench_pipeline.trust import (
    Check,
    CheckStatus,
    FailureClass,
    Outcome,
    PolicySource,
    TrustSource,
    Verdict,
)
from inferencebench_pipeline.untrusted import printable

REPORT_VERSION: Final = "1"
"""Changes whenever a field of the report gets another name or another meaning."""
_OTHER_METRICS: Final = 6
"""Metrics that are shown of a record of another writer, which has no headline metrics of ours."""
_LONGEST: Final = 160
_PINNED: Final = "policy"
"""The issuer of a signer that is a development key."""


class MetricFact(DocumentPart):
    """One headline metric as the record states it."""

    key: str
    """The name of the metric in the record."""
    label: str
    """The name of the metric for people."""
    value: float | int | str | None
    """The value; null when it was not measured."""
    unit: str
    """The unit of the value."""
    low: float | None = None
    """The lower end of the interval; null when the record states none."""
    high: float | None = None
    """The upper end of the interval; null when the record states none."""
    confidence: float | None = None
    """The confidence of the interval, such as 0.95; null without an interval."""
    n: int | None = None
    """The number of samples; null when the record states none."""
    null_reason: str | None = None
    """The reason for a value that is null, when the record states one."""


class Answer(DocumentPart):
    """The answer to one of the questions about a record."""

    question: str
    """``what``, ``who``, ``when``, ``where``, ``rederive``, or ``asked`` if more was asked for."""
    asked: str
    """The question as a person asks it."""
    status: CheckStatus
    """``passed`` when every check of it has passed, ``failed`` when one has failed."""
    said: str
    """The answer in a sentence or two."""
    checks: tuple[str, ...]
    """The names of the checks that answer it."""


class RecordFacts(DocumentPart):
    """The statements of a record about itself, with their texts made printable."""

    proven: bool
    """True when a signer whom the policy allows stands for these facts; else they are claims."""
    model: str
    """The id of the model."""
    model_revision: str
    """The commit of the model's weights, or ``unknown``."""
    quantization: str | None
    """The weight format and its method; null when the record names none."""
    engine: str
    """The name of the engine."""
    engine_version: str
    """The version of the engine."""
    gpus: tuple[str, ...]
    """The models of the GPUs, one for each."""
    cpu: str
    """The model of the processor."""
    measured_at: AwareDatetime
    """The time of the measurement, by the clock of the machine that measured."""
    run_id: str
    """The id of the run."""
    suite: str
    """The id and the version of the suite."""
    workload: str
    """The id of the prompts."""
    load: str
    """The load, as its kind and its settings."""
    metrics: tuple[MetricFact, ...]
    """The headline metrics; the record states more."""


class VerdictReport(Verdict):
    """The output of ``verify --json``: a verdict, its subject, and what it rests on."""

    report_version: str = REPORT_VERSION
    """The version of this form of report."""
    where: str
    """The place of the record."""
    exit_code: int
    """The exit code of the command."""
    meaning: str
    """The meaning of the exit code, in one sentence."""
    organisation: str | None
    """The namespace that the signer had to be allowed for; null when none was asked for."""
    record: RecordFacts | None
    """The statements of the record about itself; null when it cannot be read."""
    answers: tuple[Answer, ...]
    """The answers to the questions about the record, in their order."""
    trust_root: TrustSource
    """The trust root that the verdict was reached under."""
    policy: PolicySource
    """The policy that the verdict was reached under."""
    warnings: tuple[str, ...] = Field(default=())
    """Remarks besides the checks, such as that the trust root is old."""

    @property
    def code(self) -> ExitCode:
        """The exit code as the table has it."""
        return exit_code_of(self)


def report_on(
    verdict: Verdict,
    target: Target,
    *,
    organisation: str | None,
    traces_wanted: bool,
    trust_root: TrustSource,
    policy: PolicySource,
) -> VerdictReport:
    """Return the report on a verdict.

    Args:
        verdict: on the target's bytes.
        target: what was verified.
        organisation: the namespace that the signer had to be allowed for, if any.
        traces_wanted: whether the traces were looked for.
        trust_root: the trust root that was used.
        policy: the policy that was used.
    """
    code = exit_code_of(verdict)
    warning = trust_root.warning()
    return VerdictReport(
        **dict(verdict),
        where=printable(target.where, 2_000),
        exit_code=code.value,
        meaning=code.meaning,
        organisation=organisation,
        record=_facts(target.envelope, proven=_is_proven(verdict)),
        answers=tuple(_answers(verdict, organisation, traces_wanted=traces_wanted)),
        trust_root=trust_root,
        policy=policy,
        warnings=() if warning is None else (warning,),
    )


def _answers(
    verdict: Verdict, organisation: str | None, *, traces_wanted: bool
) -> Iterator[Answer]:
    made = {check.name: check for check in verdict.checks}
    for question in QUESTIONS:
        checks = [made[name] for name in question.checks if name in made]
        if question is ASKED and not checks:
            continue
        status = answer_of(checks) if checks else CheckStatus.SKIPPED
        if status is CheckStatus.FAILED and verdict.outcome is Outcome.NEWER:
            # Nothing speaks against the record: this version cannot tell.
            status = CheckStatus.SKIPPED
        if status is CheckStatus.FAILED:
            failed = next(check for check in checks if check.status is CheckStatus.FAILED)
            said = failure_of(failed)
        elif status is CheckStatus.PASSED:
            said = _passed(question, verdict, checks, organisation)
        else:
            said = _open(question, verdict, checks, traces_wanted)
        yield Answer(
            question=question.key,
            asked=question.asked,
            status=status,
            said=said,
            checks=tuple(check.name for check in checks),
        )


def _passed(
    question: Question, verdict: Verdict, checks: list[Check], organisation: str | None
) -> str:
    """Return the answer to a question all of whose checks have passed."""
    speaks = f"speak for {printable(organisation)}" if organisation else "speak"
    if question is WHAT:
        return "This very record: its content hash was computed again, and is what was signed."
    if question is WHO:
        if verdict.signer is not None and verdict.signer.issuer == _PINNED:
            return f"A development key that your policy pins, and lets {speaks}."
        return f"The one that the certificate names, and your policy lets it {speaks}."
    if question is WHEN and verdict.signed_at is not None:
        return f"Not later than {moment(verdict.signed_at)}, by a clock that you trust."
    if question is WHERE and verdict.log is not None:
        return f"As entry {verdict.log.index} of a log that you trust; the proof holds."
    if question is REDERIVE:
        count = checks[-1].evidence.get("metrics", "")
        every = f"Yes: all {count} metrics were" if count else "Yes: every metric was"
        return f"{every} computed again from the raw data, equal to the last digit."
    return " ".join(detail_of(check) for check in checks)


def _open(question: Question, verdict: Verdict, checks: list[Check], traces_wanted: bool) -> str:
    """Return the answer to a question that was not, or not wholly, examined."""
    if question is REDERIVE and verdict.failure_class == FailureClass.TRACES_MISSING:
        if not traces_wanted:
            return "Not examined, as you asked with --no-traces."
        return f"Not examined: {TRACES_FILE}, which the record binds, is not there."
    if question is REDERIVE and verdict.outcome is Outcome.NEWER:
        return "This version cannot tell: the record names what only a later release knows."
    if question is REDERIVE and verdict.outcome is Outcome.VERIFIED:
        return "Nobody can tell: the record binds no raw data, so the signer's word stands alone."
    if question is WHEN and not checks:
        return "No clock vouches for it: a development key signed."
    if question is WHERE and not checks:
        return "Nowhere: the signature of a development key is in no log."
    some = any(check.status is CheckStatus.PASSED for check in checks)
    return "Examined in part only." if some else "Not examined."


def moment(instant: datetime) -> str:
    """Return an instant to the second, in UTC."""
    try:
        return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except OverflowError:
        # The first or the last day that a calendar has, in another zone.
        return instant.isoformat()


def _is_proven(verdict: Verdict) -> bool:
    # A genuine record at a place that claims another one is what its signer signed all the same,
    # and so is a record that only a later release can judge, once its signature has verified.
    known = verdict.outcome is not Outcome.REJECTED and verdict.signer is not None
    return known or verdict.failure_class == FailureClass.PLACE_DISAGREES


def _facts(data: bytes, *, proven: bool) -> RecordFacts | None:
    try:
        read = read_unambiguous(data)
    except EnvelopeError:
        return None
    envelope = read.envelope
    weights = envelope.quantization
    return RecordFacts(
        proven=proven,
        model=_text(envelope.model.id),
        model_revision=_text(envelope.model.revision),
        quantization=None if weights is None else _text(f"{weights.format} {weights.method}"),
        engine=_text(envelope.engine.name),
        engine_version=_text(envelope.engine.version),
        gpus=tuple(_text(gpu.model) for gpu in envelope.hardware_fingerprint.gpus),
        cpu=_text(envelope.hardware_fingerprint.cpu.model),
        measured_at=envelope.timestamp,
        run_id=_text(envelope.run_id),
        suite=_text(f"{envelope.suite_id} {envelope.suite_version}"),
        workload=_text(envelope.dataset.id),
        load=_load(envelope.driver_options.get("load")),
        metrics=tuple(_metrics(read)),
    )


def _text(text: object) -> str:
    return printable(text, _LONGEST)


def _load(options: object) -> str:
    """Return a load's kind and settings as words; it may be anything that a writer put there."""
    if not isinstance(options, dict):
        return "not stated" if options is None else _text(options)
    stated = {str(key).replace("_", " "): value for key, value in options.items()}
    kind = stated.pop("kind", None)
    settings = ", ".join(f"{key} {value}" for key, value in stated.items() if value is not None)
    return _text(": ".join(str(part) for part in (kind, settings) if part))


def _metrics(read: ReadEnvelope) -> Iterator[MetricFact]:
    leading = headline(read)
    for row in leading:
        interval = row.interval
        yield MetricFact(
            key=row.key,
            label=row.label,
            value=_value(row.value),
            unit=_text(row.unit),
            low=None if interval is None else _finite(interval.low),
            high=None if interval is None else _finite(interval.high),
            confidence=None if interval is None else _finite(interval.confidence),
            n=row.n,
            null_reason=None if row.null_reason is None else _text(row.null_reason),
        )
    if not leading:
        for key, value in list(read.envelope.metrics.items())[:_OTHER_METRICS]:
            yield MetricFact(key=_text(key), label=_text(key), value=_value(value), unit="")


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _value(value: MetricValue) -> MetricValue:
    # JSON has no word for what is no number, which an envelope may hold.
    odd = isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value))
    return _text(value) if odd else value


def hardware_of(record: RecordFacts) -> str:
    """Return the GPUs, counted, and the processor in a few words."""
    counted = Counter(record.gpus)
    gpus = ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counted.items())
    return f"{gpus}; CPU {record.cpu}" if gpus else f"no GPU; CPU {record.cpu}"
