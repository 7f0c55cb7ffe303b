"""The name of a run's repository, decided by its envelope: ``{model}__{suite}__{run-hash}``."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from inferencebench_pipeline.envelope import Envelope
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.runs import validate_run_id

MAX_NAME_CHARACTERS = 96
"""The Hub's limit for the part after the slash."""
_SUITE_CHARACTERS = 30
_TAG_CHARACTERS = 6
_NAMESPACE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|[-_.](?=[A-Za-z0-9])){0,95}")


class HubNameError(PermanentError):
    """No repository name can be made of this organisation, or it is not one."""


def dataset_repo_id(organisation: str, envelope: Envelope) -> str:
    """Return ``{organisation}/{model}__{suite}__{run-hash}``, the same for the same envelope.

    Args:
        organisation: Hub user or organisation to publish under.
        envelope: its model id, suite id and run id make the name.

    Raises:
        HubNameError: ``organisation`` is not a Hub namespace.
        RunIdError: the envelope's run id is not a UUIDv7.
    """
    return f"{validate_organisation(organisation)}/{dataset_name(envelope)}"


def dataset_name(envelope: Envelope) -> str:
    """Return the part after the slash.

    *model* is the last part of the model id and *suite* the suite id, lower-case, in the Hub's
    alphabet. What that loses (another alphabet, the tail of a long name) is stood in for by the
    first hex digits of the SHA-256 of the whole id, so that two ids never silently share a slug.

    *run-hash* begins with the first 12 hex digits of the run id, which are the UUIDv7's
    milliseconds and sort by time. They are all time and no chance: two runs of one matrix, started
    in the same millisecond, would ask for the same repository, and a published record is never
    overwritten, so the second could never be published. The run id's last 8 hex digits, random by
    RFC 9562, follow after a hyphen. Both parts can be found again in the run id by eye.
    """
    return record_name(envelope.model.id, envelope.suite_id, envelope.run_id)


def record_name(model_id: str, suite_id: str, run_id: str) -> str:
    """Return what :func:`dataset_name` returns for an envelope with these ids.

    Raises:
        RunIdError: the run id is not a UUIDv7.
    """
    run_hash = _run_hash(run_id)
    suite = _slug(suite_id, _SUITE_CHARACTERS, dots=False)
    budget = MAX_NAME_CHARACTERS - len(f"__{suite}__{run_hash}")
    model = _slug(model_id.rstrip("/").rpartition("/")[2], budget, dots=True)
    return f"{model}__{suite}__{run_hash}"


def validate_organisation(organisation: str) -> str:
    """Return ``organisation`` when it can be a Hub namespace.

    Raises:
        HubNameError: otherwise.
    """
    if not _NAMESPACE.fullmatch(organisation):
        raise HubNameError(
            f"organisation {organisation!r} is not a Hub user or organisation name (letters, "
            "digits, single '-', '_' or '.' between them); fix INFERENCEBENCH_ORGANISATION"
        )
    return organisation


def _run_hash(run_id: str) -> str:
    digits = validate_run_id(run_id).replace("-", "")
    return f"{digits[:12]}-{digits[-8:]}"


def _slug(text: str, budget: int, *, dots: bool) -> str:
    """Return ``text`` in ``[a-z0-9.-]`` or ``[a-z0-9-]``, within ``budget`` and never empty.

    Every run of other characters becomes one hyphen: the Hub forbids ``--`` and ``..``, and a
    single ``_`` is given up so that ``__`` separates the parts beyond doubt.
    """
    folded = unicodedata.normalize("NFKD", text).lower()
    readable = "".join(mark for mark in folded if not unicodedata.combining(mark))
    slug = re.sub(r"[^a-z0-9.]+" if dots else r"[^a-z0-9]+", "-", readable)
    # The Hub refuses two points in a row, and a point beside a hyphen separates nothing.
    slug = re.sub(r"[.-]{2,}+", lambda run: "-" if "." in run[0] else run[0], slug).strip(".-")
    if readable.isascii() and 0 < len(slug) <= budget:
        return slug
    tag = hashlib.sha256(text.encode()).hexdigest()[:_TAG_CHARACTERS]
    kept = slug[: budget - _TAG_CHARACTERS - 1].rstrip(".-")
    return f"{kept}-{tag}" if kept else tag
