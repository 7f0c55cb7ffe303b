"""Thrift's compact protocol, as far as Parquet's metadata needs it: bytes to plain values.

No schema is needed: a struct is read as a dictionary from field number to value. What is read is
bounded by the bytes that are there.

Source: apache/thrift doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any, Final

_DEEPEST: Final = 24
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_INTEGERS: Final = frozenset({_I16, _I32, _I64})

Struct = dict[int, Any]


class ThriftError(ValueError):
    """The bytes are not a struct in the compact protocol."""


def read_struct(data: memoryview, start: int) -> tuple[Struct, int]:
    """Return the struct that begins at ``start``, and where it ends.

    Raises:
        ThriftError: it runs past the end, nests too deeply, or is of no known type.
    """
    try:
        return _struct(data, start, 0)
    except IndexError as error:
        raise ThriftError("it runs past the end of the file") from error


def _struct(data: memoryview, at: int, depth: int) -> tuple[Struct, int]:
    if depth > _DEEPEST:
        raise ThriftError(f"it nests deeper than {_DEEPEST} levels")
    found: Struct = {}
    field = 0
    while True:
        head = data[at]
        at += 1
        if head == 0:
            return found, at
        # The upper four bits are the distance from the last field. 0 says that its number follows.
        if head >> 4:
            field += head >> 4
        else:
            field, at = _integer(data, at)
        kind = head & 15
        # The type of a boolean field is its value. Only in lists and maps does it take a byte.
        if kind in (_TRUE, _FALSE):
            found[field] = kind == _TRUE
        else:
            found[field], at = _value(data, at, kind, depth)


def _value(data: memoryview, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _integer(data, at)
    if kind == _BINARY:
        size, at = _size(data, at)
        return data[at : at + size], at + size
    if kind == _STRUCT:
        return _struct(data, at, depth + 1)
    if kind in (_LIST, _SET):
        return _list(data, at, depth + 1)
    if kind in (_BYTE, _TRUE, _FALSE):
        return data[at], at + 1
    if kind == _DOUBLE:
        return data[at : at + 8], at + 8
    if kind == _MAP:
        return _map(data, at, depth + 1)
    raise ThriftError(f"it has a field of the unknown type {kind}")


def _list(data: memoryview, at: int, depth: int) -> tuple[list[Any], int]:
    head = data[at]
    at += 1
    count, kind = head >> 4, head & 15
    # 15 says that the count follows.
    if count == 15:
        count, at = _size(data, at)
    found = []
    for _ in range(count):
        item, at = _value(data, at, kind, depth)
        found.append(item)
    return found, at


def _map(data: memoryview, at: int, depth: int) -> tuple[list[tuple[Any, Any]], int]:
    count, at = _size(data, at)
    # An empty map ends here: the byte with the types of its keys and values is left out.
    if count == 0:
        return [], at
    kinds = data[at]
    at += 1
    found = []
    for _ in range(count):
        key, at = _value(data, at, kinds >> 4, depth)
        value, at = _value(data, at, kinds & 15, depth)
        found.append((key, value))
    return found, at


def _size(data: memoryview, at: int) -> tuple[int, int]:
    """Read a length or a count: each thing counted takes a byte at least."""
    size, at = _varint(data, at)
    if size > len(data) - at:
        raise ThriftError("it runs past the end of the file")
    return size, at


def _integer(data: memoryview, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    # Zigzag: the lowest bit is the sign.
    return (value >> 1) ^ -(value & 1), at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ThriftError("it has an integer of more than 64 bits")
