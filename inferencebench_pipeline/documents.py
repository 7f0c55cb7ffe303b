"""The base model of all documents, immutable and closed, whose docstrings describe its fields.

Parsing a document, and telling a person which field of it is wrong, are elsewhere.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class DocumentPart(BaseModel):
    """Base of each part of a document or of a spec.

    A part cannot change, and an unknown field or a number that is not finite is an error. The
    docstring below a field is its description in the JSON Schema, in editors, in Dagster's
    launchpad and on the API pages.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class LenientPart(BaseModel):
    """Base of each part of another program's answer.

    A part cannot change. Unknown fields are left out, since the other program may add some.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


def described_as(part: type[BaseModel], field: str) -> FieldInfo:
    """Return the description of a field of another part, for a field that repeats it.

    It stands in the annotation, ``Annotated[str, described_as(Part, "field")]``.

    Raises:
        KeyError: the other part has no such field.
    """
    description: FieldInfo = Field(description=part.model_fields[field].description)
    return description
