"""Comparison of a repository's name with the record inside it: :func:`place_differences`.

A pure function from plain data to sentences, for the corpus pass and for a reader's command alike.
A name in the form that the publisher gives (``naming.py``) must be the record's own in each part.
Any other name may be anything that says nothing: what it says of a model, its size, the hardware,
the engine or the date must be true of the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from inferencebench_pipeline.envelope import Envelope
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub.dataset.naming import dataset_name
from inferencebench_pipeline.untrusted import printable

_PARTS: Final = ("the model", "the suite", "the run")
_WORD: Final = re.compile(r"[a-z]+[0-9.]*[a-z0-9]*|[0-9][a-z0-9.]*")
_SIZE: Final = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bm]")
_HARDWARE: Final = re.compile(
    r"(?:h20|h100|h200|h800|a10|a10g|a16|a30|a40|a100|a800|a4000|a5000|a6000|b100|b200|b300|gb200"
    r"|gb300|gh200|l4|l40|l40s|t4|v100|p100|mi\d{3}[a-z]?|rtx\d{4}|gaudi\d?|trainium\d?|tpu|tpuv\d)"
)
_DATE: Final = re.compile(r"(?<!\d)(20\d\d)-?(0[1-9]|1[0-2])(?:-?(0[1-9]|[12]\d|3[01]))?(?!\d)")
_FAMILIES: Final = (
    "llama", "qwen", "mistral", "mixtral", "gemma", "deepseek", "falcon", "olmo", "smollm",
    "nemotron", "granite", "claude", "gemini", "grok", "minimax", "kimi", "chatglm", "phi", "gpt",
)  # fmt: skip
_ENGINES: Final = ("vllm", "sglang", "tensorrt", "ollama", "lmdeploy", "llamacpp")


def place_differences(repo_id: str, envelope: Envelope) -> Iterator[str]:
    """Yield a sentence for each thing that the repository's name says and the record does not.

    Args:
        repo_id: ``ORG/NAME``.
        envelope: of the record that was found there.
    """
    name = repo_id.rpartition("/")[2].lower()
    expected = _expected(envelope)
    if name == expected:
        return
    if expected is None or name.count("__") != 2:
        for problem in contradicted_words(name, envelope):
            yield f"the repository's name is {_shown(name)}, but {problem}"
        return
    for what, said, given in zip(_PARTS, name.split("__"), expected.split("__"), strict=True):
        if said != given:
            yield (
                f"the repository's name is {_shown(name)}: it gives {what} as {_shown(said)}, the "
                f"record as {_shown(given)}"
            )


def contradicted_words(text: str, envelope: Envelope) -> Iterator[str]:
    """Yield what a name or a title says of model, size, hardware, engine or date and is not so."""
    said = text.lower()
    model, engine = envelope.model.id.lower(), f"{envelope.engine.name} {envelope.model.provider}"
    gpus = list(dict.fromkeys(gpu.model for gpu in envelope.hardware_fingerprint.gpus))
    hardware = " ".join([*gpus, envelope.hardware_fingerprint.cpu.model]).lower()
    dates = list(_DATE.finditer(said))
    words = list(dict.fromkeys(_WORD.findall(_DATE.sub(" ", said))))
    known = set(_WORD.findall(model))
    for word in words:
        counted = re.sub(r"^\d+x(?=[a-z])", "", word)
        if _SIZE.fullmatch(word):
            # A size in millions or billions; 8x22b says both numbers.
            if word not in known and word not in model:
                yield f"the record is of {_shown(envelope.model.id)}, not of a model of {word}"
        elif _HARDWARE.fullmatch(counted):
            if counted not in re.sub(r"[\s_-]", "", hardware):
                on = ", ".join(gpus) or "no GPU"
                yield f"the record was measured on {_shown(on)}, not on {counted}"
        elif family := _named(word, _FAMILIES):
            # A server's name may be that of a model, as llama.cpp is.
            if family not in f"{model} {engine.lower()}":
                yield f"the record is of {_shown(envelope.model.id)}, not of {family}"
        elif (server := _named(word, _ENGINES)) and server not in _letters(engine):
            yield f"the record was measured with {_shown(envelope.engine.name)}, not with {server}"
    yield from _dates(dates, envelope)


def _dates(dates: list[re.Match[str]], envelope: Envelope) -> Iterator[str]:
    moment = _in_utc(envelope.timestamp)
    for found in dates:
        year, month, day = found.groups()
        differs = (int(year), int(month)) != (moment.year, moment.month)
        if differs or (day is not None and int(day) != moment.day):
            yield f"the record was measured on {moment:%Y-%m-%d}, not in {found[0]}"


def _named(word: str, names: tuple[str, ...]) -> str | None:
    """Return the name that a word begins with; a number may follow, and no other letter."""
    letters = re.sub(r"[0-9.].*", "", word)
    return letters if letters in names else None


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment


def _expected(envelope: Envelope) -> str | None:
    """Return the name that the publisher gives; None where the run id is none of its own."""
    try:
        return dataset_name(envelope)
    except PermanentError:
        return None


def _shown(text: str) -> str:
    return printable(text, 120)
