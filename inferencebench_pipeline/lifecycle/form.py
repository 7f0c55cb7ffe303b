"""Forms: the few fields that a person fills in to launch a run.

Their values are plain. Dagster's own ``Config`` takes ``{env: NAME}`` wherever it takes a text, so
that a launch could have any variable of the run's process, the Hub token among them, put into what
is logged or published.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Self, get_args, get_origin

import dagster as dg
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.untrusted import problems_of

# Run configuration knows no instants, so one travels as a text that pydantic then reads.
_SCALARS: Final = {str: str, bool: bool, AwareDatetime: str}


class FormError(PermanentError):
    """A field of a launch's form has a value that cannot be used."""


class Form(BaseModel):
    """A form of a launch; its fields are texts, truth values, instants, choices and lists."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )

    @classmethod
    def run_config(cls) -> dict[str, dg.Field]:
        """Return the schema of the step that reads this form: these fields and no others."""
        return {name: _field(name, cls) for name in cls.model_fields}

    @classmethod
    def of(cls, context: dg.OpExecutionContext | dg.AssetExecutionContext) -> Self:
        """Return the form as the launch of this step has filled it in.

        Raises:
            FormError: a field is out of its bounds; the message names it.
        """
        if isinstance(context, dg.AssetExecutionContext):
            # The context of an asset has its configuration in that of its step.
            context = context.op_execution_context
        try:
            return cls.model_validate(context.op_config)
        except ValidationError as error:
            problems = problems_of(error, whole="the form")
            raise FormError(f"{problems}; launch it again with another value") from error


def _field(name: str, form: type[Form]) -> dg.Field:
    field = form.model_fields[name]
    kind = _kind(f"{form.__name__}.{name}", field.annotation)
    if field.is_required():
        return dg.Field(kind, description=field.description)
    default = field.get_default(call_default_factory=True, validated_data={})
    return dg.Field(kind, description=field.description, is_required=False, default_value=default)


def _kind(name: str, annotation: Any) -> Any:  # noqa: ANN401  (types of Python and of Dagster)
    """Return Dagster's type for the plain values of a field; any other annotation is refused."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(name, parts[0])
    if origin is list:
        return [_kind(name, parts[0])]
    if origin is UnionType and len(parts) == 2 and NoneType in parts:
        (other,) = (part for part in parts if part is not NoneType)
        return dg.Noneable(_kind(name, other))
    if origin is Literal and all(isinstance(part, str) for part in parts):
        return dg.Enum(name, [dg.EnumValue(part) for part in parts])
    raise TypeError(f"{name}: a form cannot hold {annotation}")
