"""Kinds of damage that a file on a disk can suffer, each one reproducible from a seed.

Tests of stored state apply them to one file after the other and look at what the readers say.
Nothing here knows what the files mean.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HUGE_BYTES: Final = 1 << 36
"""Of a sparse file, which takes no room on the disk: 64 GiB, more than any memory here."""
_DIGIT: Final = re.compile(rb"[0-9]")


@dataclass(frozen=True)
class Damage:
    """One kind of damage."""

    name: str
    _inflict: Callable[[Path, random.Random], None]

    def inflict(self, path: Path, *, seed: int = 0) -> None:
        """Damage the file at ``path``, at a place that ``seed`` and the names decide.

        The path must hold a plain file. One that is too short for the damage stays as it is;
        :func:`changed` tells.
        """
        self._inflict(path, random.Random(f"{self.name}:{path.name}:{seed}"))

    def __str__(self) -> str:
        return self.name


def changed(path: Path, before: bytes | None) -> bool:
    """Return whether ``path`` holds anything but the plain, readable file of these bytes.

    It opens nothing that could block or grow: a FIFO, a device, a huge file.
    """
    if path.is_symlink() or not path.is_file():
        return before is not None or path.is_symlink() or path.exists()
    if before is None or path.stat().st_size != len(before):
        return True
    try:
        return path.read_bytes() != before
    except OSError:
        return True


def _flip_one_bit(where: Callable[[int, random.Random], int]) -> Callable[..., None]:
    def inflict(path: Path, chance: random.Random) -> None:
        data = bytearray(path.read_bytes())
        if data:
            data[where(len(data), chance)] ^= 1 << chance.randrange(8)
            path.write_bytes(data)

    return inflict


def _truncate(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    if data:
        path.write_bytes(data[: chance.randrange(len(data))])


def _lose_the_last_byte(path: Path, _: random.Random) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path: Path, _: random.Random) -> None:
    path.write_bytes(b"")


def _change_one_digit(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    places = [found.start() for found in _DIGIT.finditer(data)]
    if places:
        place = chance.choice(places)
        data[place] = chance.choice([d for d in b"123456789" if d != data[place]])
        path.write_bytes(data)


def _delete(path: Path, _: random.Random) -> None:
    _clear(path)


def _directory(path: Path, _: random.Random) -> None:
    _clear(path)
    path.mkdir()
    (path / "inside").write_bytes(b"a directory stands where a file was")


def _symlink_to_nothing(path: Path, _: random.Random) -> None:
    _clear(path)
    path.symlink_to(path.parent / "no-such-file")


def _symlink_to_itself(path: Path, _: random.Random) -> None:
    _clear(path)
    path.symlink_to(path.name)


def _symlink_without_end(path: Path, _: random.Random) -> None:
    _clear(path)
    path.symlink_to("/dev/zero")


def _fifo(path: Path, _: random.Random) -> None:
    _clear(path)
    os.mkfifo(path)


def _unreadable(path: Path, _: random.Random) -> None:
    path.chmod(0)


def _huge(path: Path, _: random.Random) -> None:
    with path.open("ab") as file:
        file.truncate(_HUGE_BYTES)


def _deep(path: Path, _: random.Random) -> None:
    path.write_bytes(b"[" * 200_000)


def _random_bytes(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(max(1, path.stat().st_size)))


def _zero_page(path: Path, _: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)))


def _replaced_by(content: bytes) -> Callable[[Path, random.Random], None]:
    def inflict(path: Path, _: random.Random) -> None:
        path.write_bytes(content)

    return inflict


def _doubled(path: Path, _: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data + data)


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


DAMAGES: Final[tuple[Damage, ...]] = (
    Damage("truncated", _truncate),
    Damage("last byte lost", _lose_the_last_byte),
    Damage("emptied", _empty),
    Damage("a bit flipped near the start", _flip_one_bit(lambda n, r: r.randrange(min(n, 64)))),
    Damage("a bit flipped in the middle", _flip_one_bit(lambda n, r: n // 2)),
    Damage("a bit flipped anywhere", _flip_one_bit(lambda n, r: r.randrange(n))),
    Damage("a bit flipped at the end", _flip_one_bit(lambda n, r: n - 1)),
    Damage("one digit changed", _change_one_digit),
    Damage("deleted", _delete),
    Damage("replaced by a directory", _directory),
    Damage("replaced by a dangling symlink", _symlink_to_nothing),
    Damage("replaced by a symlink to itself", _symlink_to_itself),
    Damage("replaced by a symlink to /dev/zero", _symlink_without_end),
    Damage("replaced by a FIFO", _fifo),
    Damage("unreadable", _unreadable),
    Damage("huge", _huge),
    Damage("deep JSON", _deep),
    Damage("random bytes", _random_bytes),
    Damage("zeros", _zero_page),
    Damage("null", _replaced_by(b"null")),
    Damage("an empty object", _replaced_by(b"{}")),
    Damage("an enormous number", _replaced_by(b"1e999")),
    Damage("not UTF-8", _replaced_by(b'{"a": "\xff\xfe"}')),
    Damage("a lone surrogate", _replaced_by(b'{"version": "\\ud800"}')),
    Damage("doubled", _doubled),
)
"""Every kind of damage to one file. As root, "unreadable" changes nothing that a reader notices."""


def swapped_with(other: Path) -> Damage:
    """Return the damage of a file that holds what ``other``, a file of the same kind, holds."""
    return Damage("swapped with another's", _replaced_by(other.read_bytes()))


def each_place(*, places: int) -> list[Damage]:
    """Return ``places`` damages that flip one bit each, spread over the file by chance."""
    return [
        Damage(f"a bit flipped, place {n}", _flip_one_bit(lambda n, r: r.randrange(n)))
        for n in range(places)
    ]
