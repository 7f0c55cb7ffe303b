"""Quality results out of the logs of Inspect AI and lighteval.

A log states the model, the task and the value. It rarely names the provider that served the model,
and never how the weights were quantised, so a person has to give those. Where a given value
contradicts the log, nothing is read.

Formats: Inspect AI's ``EvalLog`` version 2 as JSON (``--log-format json``), and the
``results_*.json`` of lighteval 0.13.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from inferencebench_pipeline.community_results.notes import (
    NONE,
    SELECTION_POLICIES,
    NotesError,
    RunConfiguration,
)
from inferencebench_pipeline.community_results.quality_result import (
    QualityResult,
    QualityResultError,
)
from inferencebench_pipeline.community_results.results_file import BenchmarkTask
from inferencebench_pipeline.untrusted import printable

_NOT_SUCH_A_LOG = (
    ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, NotesError,
)  # fmt: skip
_RESULTS_NAME = re.compile(r"results_(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)(?:\.\d+)?\.json$")
ROUTER = "hf-inference-providers"
"""Inspect AI's name for the router, which resolves to a provider."""


@dataclass(frozen=True)
class Reading:
    """The choices of a person who reads a log, and the values that the log lacks."""

    benchmark: BenchmarkTask
    metric: str
    model_id: str | None = None
    """On the Hub; needed where the log names the model otherwise."""
    configuration: RunConfiguration = field(default_factory=RunConfiguration)


def read_log(data: bytes, reading: Reading, *, filename: str) -> QualityResult:
    """Return one metric of a log as a quality result.

    Raises:
        QualityResultError: it is not a finished log of either framework, it does not hold the
            metric, or it contradicts what was given.
    """
    try:
        document = json.loads(data)
        if isinstance(document, dict) and "eval" in document:
            return _inspect(document, reading)
        if isinstance(document, dict) and "config_general" in document:
            return _lighteval(document, reading, filename)
    except QualityResultError as error:
        raise QualityResultError(f"{filename}: {error}") from error
    except _NOT_SUCH_A_LOG as error:
        raise QualityResultError(
            f"{filename}: is not a log we can read ({type(error).__name__}: {printable(error)})"
        ) from error
    raise QualityResultError(
        f"{filename}: is neither a log of Inspect AI (key 'eval') nor of lighteval (key "
        "'config_general')"
    )


def _inspect(log: Mapping[str, Any], reading: Reading) -> QualityResult:
    if log.get("status") != "success":
        raise QualityResultError(
            f"status is {log.get('status')!r}: only an evaluation that came to its end is a result"
        )
    spec = log["eval"]
    values = {
        f"{score['name']}/{name}": metric["value"]
        for score in log["results"]["scores"]
        for name, metric in score["metrics"].items()
    }
    model_id, provider = _inspect_model(str(spec["model"]))
    found = RunConfiguration(
        provider=provider,
        engine=_inspect_engine(str(spec["model"])),
        tools=_inspect_tools(log.get("plan", {})),
        judge=_inspect_judge(log["results"]["scores"]),
    )
    return _result(
        reading,
        values,
        logged_model=model_id,
        evaluated_at=datetime.fromisoformat(spec["created"]),
        samples=log["results"].get("completed_samples"),
        found=found,
    )


def _inspect_model(name: str) -> tuple[str | None, str | None]:
    """Return the Hub's model id and the provider in a name such as ``router/org/name:provider``."""
    kind, _, rest = name.partition("/")
    model, _, provider = rest.partition(":")
    if kind == ROUTER:
        return model, _resolved(provider)
    # These run weights of the Hub under the Hub's ids. Other kinds name models in their own way.
    return (model if kind in {"hf", "vllm", "sglang"} else None), None


def _inspect_engine(name: str) -> str | None:
    kind = name.partition("/")[0]
    return {"hf": "transformers", "vllm": "vllm", "sglang": "sglang"}.get(kind)


def _inspect_tools(plan: Mapping[str, Any]) -> tuple[str, ...] | None:
    steps = plan.get("steps")
    if steps is None:
        return None
    named = [
        str(tool.get("name", "unnamed")) if isinstance(tool, dict) else str(tool)
        for step in steps
        if step["solver"].rpartition("/")[2] == "use_tools"
        for tool in _listed(step.get("params", {}).get("tools"))
    ]
    return tuple(sorted(set(named)))


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _inspect_judge(scores: list[Mapping[str, Any]]) -> str:
    judges = {
        str(score.get("params", {}).get("model") or "model under test")
        for score in scores
        if score["scorer"].rpartition("/")[2].startswith("model_graded")
    }
    if len(judges) > 1:
        raise QualityResultError(f"several judges marked the answers: {', '.join(sorted(judges))}")
    return judges.pop() if judges else NONE


def _lighteval(log: Mapping[str, Any], reading: Reading, filename: str) -> QualityResult:
    general = log["config_general"]
    config = general.get("model_config")
    config = config if isinstance(config, dict) else {}
    values = {
        f"{task}/{name}": value
        for task, metrics in log["results"].items()
        # This one is lighteval's mean over all tasks.
        if task != "all"
        for name, value in metrics.items()
        # lighteval writes the standard error of a metric as if it were one more metric.
        if not name.endswith("_stderr")
    }
    # The times inside are of a clock that starts anywhere; the file's name has the date.
    stamp = _RESULTS_NAME.search(filename)
    if stamp is None:
        raise QualityResultError("lighteval keeps the date in the name results_DATE.json; keep it")
    return _result(
        reading,
        values,
        logged_model=general.get("model_name") or config.get("model_name"),
        evaluated_at=datetime.strptime(stamp[1], "%Y-%m-%dT%H-%M-%S").replace(tzinfo=UTC),
        samples=None,
        found=RunConfiguration(provider=_resolved(config.get("provider"))),
    )


def _result(
    reading: Reading,
    values: Mapping[str, float],
    *,
    logged_model: str | None,
    evaluated_at: datetime,
    samples: int | None,
    found: RunConfiguration,
) -> QualityResult:
    if reading.metric not in values:
        raise QualityResultError(
            f"holds no metric {reading.metric!r}; it has {', '.join(sorted(values)) or 'none'}"
        )
    model_id = reading.model_id or logged_model
    if model_id is None or "/" not in model_id:
        raise QualityResultError("does not name the model as on the Hub; give it as ORG/NAME")
    if logged_model is not None and "/" in logged_model and logged_model != model_id:
        raise QualityResultError(f"is of {logged_model}, not of {model_id}")
    return QualityResult(
        model_id=model_id,
        benchmark=reading.benchmark,
        metric=reading.metric,
        value=values[reading.metric],
        samples=samples,
        evaluated_at=evaluated_at,
        configuration=_merged(found, reading.configuration),
    )


def _merged(found: RunConfiguration, given: RunConfiguration) -> RunConfiguration:
    """Return what the log says, completed by what was given.

    Raises:
        QualityResultError: they contradict each other.
    """
    merged = found
    for key in (facet.name for facet in fields(RunConfiguration)):
        logged, added = getattr(found, key), getattr(given, key)
        if added is None:
            continue
        if logged is not None and not _refines(added, logged):
            raise QualityResultError(f"says {key} {logged!r}, but {added!r} was given")
        merged = replace(merged, **{key: added})
    return merged


def _refines(added: object, logged: object) -> bool:
    """Return whether a given value agrees with the log's, or adds the version to its name."""
    return added == logged or str(added).startswith(f"{logged}/")


def _resolved(provider: object) -> str | None:
    """Return the provider that answered; a selection policy is not one."""
    name = str(provider or "")
    return name if name and name not in SELECTION_POLICIES else None
