"""``eval.yaml``, the file by which a dataset declares itself a benchmark and lists its tasks.

The format is that of Inspect AI's Hub tasks. The Hub validates the file at push and lists the
dataset as a benchmark once its own staff has put it on an allow-list. Which frameworks it knows is
a list in its source that grows; an unknown one is left to the Hub to refuse.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from inferencebench_pipeline.community_results.results_file import Text
from inferencebench_pipeline.community_results.yaml import (
    EvaluationFileError,
    read_yaml,
)
from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.untrusted import write_yaml

SPEC_FILE = "eval.yaml"
BENCHMARK_TAG = "benchmark:official"
"""The tag the Hub gives to datasets on its allow-list."""
INSPECT_AI = "inspect-ai"

_REMEDIES = {
    "name": "give the benchmark's name",
    "tasks": "list at least one task with an id",
    "tasks.id": "results refer to a task by its id",
}


class FieldSpec(DocumentPart):
    """The roles of the dataset's columns, for Inspect AI."""

    input: Text
    """The column of the question."""
    target: Text
    """A column, or ``literal:X`` for the same answer in every row."""
    choices: Text | tuple[Text, ...] | None = None
    """The column or columns of the choices."""
    input_image: Text | None = None
    """The column of an image that belongs to the question."""
    metadata: tuple[Text, ...] | None = None
    """Columns that are kept beside each answer."""


class Solver(DocumentPart):
    """A step of Inspect AI that brings about an answer."""

    name: Literal[
        "prompt_template",
        "system_message",
        "user_message",
        "chain_of_thought",
        "use_tools",
        "generate",
        "self_critique",
        "multiple_choice",
    ]
    """The name of the solver in Inspect AI."""
    args: dict[StrictStr, Any] | None = None
    """The arguments of the solver."""


class Scorer(DocumentPart):
    """The way in which Inspect AI scores an answer."""

    name: Literal[
        "includes",
        "match",
        "pattern",
        "answer",
        "exact",
        "f1",
        "model_graded_qa",
        "model_graded_fact",
        "choice",
    ]
    """The name of the scorer in Inspect AI."""
    args: dict[StrictStr, Any] | None = None
    """The arguments of the scorer."""

    @property
    def judge_model(self) -> str | None:
        """The model that marks the answers, when one does and it is named."""
        model = (self.args or {}).get("model")
        return model if self.name.startswith("model_graded") and isinstance(model, str) else None


class Task(DocumentPart):
    """One task of a benchmark; results refer to it by ``id``."""

    id: Text
    """The id of the task, by which results name it."""
    config: Text | None = None
    """Subset of the dataset; ``default`` when absent."""
    split: Text | None = None
    """``test`` when absent."""
    field_spec: FieldSpec | None = None
    """The roles of the dataset's columns."""
    shuffle_choices: StrictBool | None = None
    """True to put the choices into random order."""
    epochs: Annotated[StrictInt, Field(ge=1)] | None = None
    """The number of times that each question is asked."""
    epoch_reducer: (
        Annotated[StrictStr, Field(pattern=r"^(pass_at_\d+|at_least_\d+|max|mode|median|mean)$")]
        | None
    ) = None
    """The way in which the scores of the epochs become one."""
    solvers: Annotated[tuple[Solver, ...], Field(min_length=1)] | None = None
    """The steps that bring about an answer, in their order."""
    scorers: Annotated[tuple[Scorer, ...], Field(min_length=1)] | None = None
    """The ways in which an answer is scored."""


class BenchmarkDefinition(DocumentPart):
    """The content of ``eval.yaml``."""

    name: Text
    """The name of the benchmark."""
    description: Annotated[StrictStr, Field(min_length=1, max_length=10_000)] | None = None
    """The description of the benchmark for people."""
    evaluation_framework: Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")] | None = (
        None
    )
    """The framework that runs the benchmark, for example ``inspect-ai``."""
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]
    """The tasks of the benchmark."""

    @model_validator(mode="after")
    def _tasks_are_distinct_and_complete(self) -> Self:
        ids = [task.id for task in self.tasks]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"tasks have the same id: {', '.join(twice)}; give each its own")
        if self.evaluation_framework == INSPECT_AI:
            for task in self.tasks:
                for key in ("field_spec", "solvers", "scorers"):
                    if getattr(task, key) is None:
                        raise ValueError(
                            f"task {task.id!r} has no {key}, which {INSPECT_AI} cannot run without"
                        )
        return self

    def task(self, task_id: str) -> Task | None:
        """Return the task of that id, or ``None``."""
        return next((task for task in self.tasks if task.id == task_id), None)


def parse_spec(data: bytes, *, filename: str = SPEC_FILE) -> BenchmarkDefinition:
    """Return what an ``eval.yaml`` says.

    Raises:
        EvaluationFileError: names the file and, for each problem, the line, the key, the value
            and what to do. ``scores``, as the Hub's prose has it, is such a problem: the key is
            ``scorers``.
    """
    document = read_yaml(data, filename=filename)
    if not isinstance(document.value, dict):
        raise EvaluationFileError(filename, ("line 1: must be a mapping that begins with 'name:'",))
    try:
        return BenchmarkDefinition.model_validate(document.value)
    except ValidationError as error:
        raise document.refuse(error, _REMEDIES) from error


def render_spec(spec: BenchmarkDefinition) -> bytes:
    """Return the ``eval.yaml`` of a benchmark; :func:`parse_spec` gives it back."""
    return write_yaml(spec.model_dump(mode="json", exclude_none=True), quoting=True).encode()
