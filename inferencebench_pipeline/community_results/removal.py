"""Removal of entries from an ``.eval_results/*.yaml`` file that may hold others' as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inferencebench_pipeline.community_results.results_file import EvaluationEntry, parse_entries
from inferencebench_pipeline.community_results.yaml import EvaluationFileError, read_yaml


def without_entries(
    data: bytes, is_meant: Callable[[EvaluationEntry], bool], *, filename: str
) -> bytes | None:
    """Return the file less the entries that are meant, ``None`` when no other is left.

    Cut and paste of lines, proven by reading the outcome: the other entries keep every byte, and so
    do comments before and after.

    Raises:
        EvaluationFileError: the file cannot be read, or not cut so that the others stay.
    """
    entries = parse_entries(data, filename=filename)
    meant = [is_meant(entry) for entry in entries]
    if not any(meant):
        return data
    if all(meant):
        return None
    after = _cut(data, meant, filename)
    left = tuple(entry for entry, goes in zip(entries, meant, strict=True) if not goes)
    if parse_entries(after, filename=filename) != left:
        raise EvaluationFileError(filename, ("more than the entries meant would change",))
    return after


def _cut(data: bytes, meant: Sequence[bool], filename: str) -> bytes:
    document = read_yaml(data, filename=filename)
    lines = data.splitlines(keepends=True)
    starts = [document.line_of((index,)) - 1 for index in range(len(meant))] + [len(lines)]
    kept = lines[: starts[0]]
    for index, goes in enumerate(meant):
        item = lines[starts[index] : starts[index + 1]]
        # Comments behind an item are about what follows, or about nothing: they stay.
        length = len(item)
        while length and item[length - 1].lstrip()[:1] in {b"", b"#"}:
            length -= 1
        kept += item[length:] if goes else item
    return b"".join(kept)
