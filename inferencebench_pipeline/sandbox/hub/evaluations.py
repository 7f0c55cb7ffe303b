"""Community evaluation results as the Hub reads them: ``.eval_results/*.yaml`` and ``eval.yaml``.

The rules are the Hub's, written down a second time on purpose: what our own code writes must be
judged by something that does not share its mistakes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictStr, TypeAdapter, ValidationError

from inferencebench_pipeline.sandbox.hub import discussions
from inferencebench_pipeline.sandbox.hub.objects import FileEntry
from inferencebench_pipeline.sandbox.hub.repository import Repository, changed_paths

try:
    # libyaml's parser is ten times as fast, and bounds how deep a document may go.
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # a PyYAML built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

BENCHMARK_TAG = "benchmark:official"
SPEC_FILE = "eval.yaml"
_RESULTS_FILE = re.compile(r"\.eval_results/[^/]+\.ya?ml")
_ISO_8601 = r"^\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:?\d{2})?)?$"
# From the list of the Hub's own source (packages/tasks/src/eval.ts of huggingface.js).
_FRAMEWORK_NAMES = """
apex-evals archipelago claw-eval exgentic harbor inspect-ai lighteval math-arena mdpbench mteb
nemo-evaluator olmocr-bench open-asr-leaderboard parsebench screenspot-pro swe-bench swe-bench-pro
video-mme-v2 wildclawbench yc-bench
"""
_FRAMEWORKS = frozenset(_FRAMEWORK_NAMES.split())

_Text = Annotated[StrictStr, Field(min_length=1)]
_RepoName = Annotated[StrictStr, Field(pattern=r"^[\w.-]+/[\w.-]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Dataset(_Strict):
    id: _RepoName
    task_id: _Text
    revision: StrictStr | None = None


class _Source(_Strict):
    url: Annotated[StrictStr, Field(pattern=r"^https?://")]
    name: StrictStr | None = None
    user: StrictStr | None = None
    org: StrictStr | None = None


class _Result(_Strict):
    dataset: _Dataset
    value: Annotated[float, Field(strict=True)]
    verifyToken: StrictStr | None = None  # noqa: N815  (the file's spelling)
    date: Annotated[StrictStr, Field(pattern=_ISO_8601)] | None = None
    source: _Source | None = None
    notes: StrictStr | None = None


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    args: dict[str, Any] = {}


class _Solver(_Step):
    name: Literal[
        "prompt_template", "system_message", "user_message", "chain_of_thought", "use_tools",
        "generate", "self_critique", "multiple_choice",
    ]  # fmt: skip


class _Scorer(_Step):
    name: Literal[
        "includes", "match", "pattern", "answer", "exact", "f1", "model_graded_qa",
        "model_graded_fact", "choice",
    ]  # fmt: skip


class _FieldSpec(_Strict):
    input: _Text
    target: _Text
    choices: StrictStr | list[StrictStr] | None = None
    input_image: StrictStr | None = None
    metadata: list[StrictStr] | None = None


class _Task(_Strict):
    id: _Text
    config: _Text = "default"
    split: _Text = "test"
    field_spec: _FieldSpec | None = None
    shuffle_choices: bool | None = None
    epochs: int = 1
    epoch_reducer: StrictStr | None = None
    solvers: list[_Solver] | None = None
    scorers: list[_Scorer] | None = None


class _Spec(_Strict):
    name: _Text
    description: StrictStr | None = None
    evaluation_framework: StrictStr | None = None
    tasks: Annotated[list[_Task], Field(min_length=1)]


_RESULTS = TypeAdapter(list[_Result])


@dataclass(frozen=True)
class VerifyTokens:
    """The tokens this Hub hands to evaluations it ran itself; nobody else can make one."""

    key: bytes

    def issue(self, model_id: str, dataset_id: str, task_id: str, value: float) -> str:
        """Return the token of one result of one model."""
        text = "\n".join((model_id, dataset_id, task_id, repr(float(value))))
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    def accepts(self, model_id: str, data: Mapping[str, Any]) -> bool:
        """Return whether a result carries its own token."""
        dataset = data["dataset"]
        expected = self.issue(model_id, dataset["id"], dataset["task_id"], data["value"])
        return hmac.compare_digest(expected, str(data.get("verifyToken", "")))


def spec_errors(content: bytes) -> list[str]:
    """Return a sentence for each reason to refuse a benchmark's ``eval.yaml``."""
    try:
        spec = _Spec.model_validate(_yaml(content))
    except yaml.YAMLError as error:
        return [f"YAML parse error: {error}"]
    except ValidationError as error:
        return _sentences(error)
    if spec.evaluation_framework not in _FRAMEWORKS | {None}:
        return [f'"evaluation_framework" must be one of [{", ".join(sorted(_FRAMEWORKS))}]']
    ids = [task.id for task in spec.tasks]
    if len(set(ids)) < len(ids):
        return ['"tasks" must have different ids']
    if spec.evaluation_framework == "inspect-ai":
        return [
            f'"tasks[{index}].{key}" is required for inspect-ai'
            for index, task in enumerate(spec.tasks)
            for key in ("field_spec", "solvers", "scorers")
            if not getattr(task, key)
        ]
    return []


def tasks_of(repository: Repository) -> frozenset[str]:
    """Return the task ids of a dataset's ``eval.yaml``; empty when it has none that is valid."""
    entry = repository.head.tree.get(SPEC_FILE)
    if entry is None or entry.lfs_sha256 is not None:
        return frozenset()
    content = repository.objects.blob_path(entry.oid).read_bytes()
    if spec_errors(content):
        return frozenset()
    return frozenset(task.id for task in _Spec.model_validate(_yaml(content)).tasks)


def is_benchmark(repository: Repository) -> bool:
    """Return whether a dataset is on the allow-list and has a valid ``eval.yaml``."""
    return repository.settings.benchmark and bool(tasks_of(repository))


def results_of(repository: Repository, tokens: VerifyTokens) -> list[dict[str, Any]]:
    """Return the results of a model: those on main, then those its open pull requests add.

    A file that does not validate is one item with ``error`` in place of its entries.
    """
    main = repository.head.tree
    found = list(_results(repository, main, tokens, {}))
    for discussion in reversed(discussions.load_all(repository)):
        if not discussion.is_pull_request or discussion.status != "open":
            continue
        assert discussion.base is not None
        base = repository.objects.commit(discussion.base)
        added = {
            path: entry
            for path, entry in changed_paths(base, repository.resolve(discussion.ref)).items()
            # What the main branch holds as well is shown there already.
            if entry is not None and main.get(path) != entry
        }
        found += _results(repository, added, tokens, {"pullRequest": discussion.num})
    return found


def _results(
    repository: Repository,
    files: Mapping[str, FileEntry],
    tokens: VerifyTokens,
    extra: Mapping[str, object],
) -> Iterator[dict[str, Any]]:
    for path, entry in sorted(files.items()):
        if not _RESULTS_FILE.fullmatch(path) or entry.lfs_sha256 is not None:
            continue
        content = repository.objects.blob_path(entry.oid).read_bytes()
        try:
            entries = _RESULTS.validate_python(_yaml(content))
        except yaml.YAMLError as error:
            yield {"filename": path, "error": f"YAML parse error: {error}", **extra}
        except ValidationError as error:
            yield {"filename": path, "error": "; ".join(_sentences(error)), **extra}
        else:
            for entry_ in entries:
                data = entry_.model_dump(exclude_none=True)
                verified = tokens.accepts(repository.id.full_name, data)
                yield {"filename": path, "verified": verified, "data": data, **extra}


def _yaml(content: bytes) -> object:
    """Return the content of a YAML text.

    Raises:
        yaml.YAMLError: it cannot be read, whatever PyYAML raises for that.
    """
    try:
        return yaml.load(content, Loader=_SafeLoader)
    except (ValueError, TypeError, RecursionError) as error:
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from error


def _sentences(error: ValidationError) -> list[str]:
    return [
        f'"{".".join(str(part) for part in problem["loc"])}": {problem["msg"]}'
        for problem in error.errors(include_url=False)
    ]
