"""The digests of a run's files as they were written, by which damage is noticed.

``digests.json`` names the SHA-256 of every file that a stage wrote, before it is written, and its
own in its first line. It reveals damage, not forgery, since a writer of the files can write the
digests too.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

from inferencebench_pipeline.documents import DocumentPart

_SEAL: Final = re.compile(rb'\A\{\n  "document_sha256": "([0-9a-f]{64})",\n')


class BrokenSealError(ValueError):
    """A sealed document is not what was sealed."""


def seal(document: bytes) -> bytes:
    """Return an indented JSON object with the digest of the rest of it as its first member."""
    rest = document.removeprefix(b"{\n")
    if len(rest) == len(document):
        raise ValueError("not an indented JSON object")
    return b'{\n  "document_sha256": "' + hashlib.sha256(rest).hexdigest().encode() + b'",\n' + rest


def unseal(data: bytes) -> bytes | None:
    """Return the document that :func:`seal` was given; None of one that bears no seal.

    Raises:
        BrokenSealError: it was sealed and has changed since.
    """
    found = _SEAL.match(data)
    if found is None:
        return None
    rest = data[found.end() :]
    if hashlib.sha256(rest).hexdigest().encode() != found[1]:
        raise BrokenSealError("it is not as it was written: its own digest does not fit")
    return b"{\n" + rest


class _Document(DocumentPart):
    version: int = 1
    """The version of the form of the document."""
    files: dict[str, tuple[str, ...]]
    """The digests that each file of the run has had, by its name."""


@dataclass(frozen=True)
class Digests:
    """The digests that the files of a run were written with, by name; the latest comes last.

    Two are kept of each, for a process that is killed between naming the new one and writing it.
    """

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> Digests:
        """Return the digests in ``data``.

        Raises:
            BrokenSealError: it is damaged.
        """
        document = unseal(data)
        if document is None:
            raise BrokenSealError("it does not begin with its own digest")
        try:
            return cls(_Document.model_validate_json(document).files)
        except ValidationError as error:
            raise BrokenSealError("it is no list of digests") from error

    def serialise(self) -> bytes:
        """Return the bytes of ``digests.json``."""
        return seal(_Document(files=self.files).model_dump_json(indent=2).encode() + b"\n")

    def with_file(self, name: str, sha256: str) -> Digests:
        """Return these with ``sha256`` as what ``name`` is about to be."""
        before = [each for each in self.files.get(name, ()) if each != sha256]
        return Digests({**self.files, name: (*before[-1:], sha256)})

    def knows(self, name: str) -> bool:
        """Return whether a file of this name was ever written."""
        return name in self.files

    def allows(self, name: str, sha256: str) -> bool:
        """Return whether ``name`` was written as this; a file that nobody wrote may be anything."""
        return sha256 in self.files.get(name, (sha256,))
