"""The little DER (X.690) that X.509 builders leave to us: extension values and timestamps."""

from __future__ import annotations

from dataclasses import dataclass

INTEGER = 0x02
OCTET_STRING = 0x04
OID = 0x06
UTF8_STRING = 0x0C
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
BOOLEAN = 0x01
NULL = b"\x05\x00"


class DerError(ValueError):
    """Bytes that are not the DER that was expected."""


def tlv(tag: int, *contents: bytes) -> bytes:
    """Return one element: tag, length, concatenated contents."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def integer(value: int) -> bytes:
    """Return a non-negative INTEGER."""
    # One bit more than the number needs, since the first one is the sign.
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    encoded = bytearray()
    # X.690 section 8.19: the first two arcs share one subidentifier.
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | (arc & 0x7F))
        encoded += bytes(reversed(groups))
    return tlv(OID, bytes(encoded))


def set_of(*elements: bytes) -> bytes:
    """Return a SET OF in its canonical order (X.690 section 11.6)."""
    return tlv(SET, *sorted(elements))


@dataclass(frozen=True)
class Element:
    """One decoded element."""

    tag: int
    content: bytes
    raw: bytes
    """Tag, length and content as they were."""


def elements(data: bytes) -> list[Element]:
    """Return the elements ``data`` is the concatenation of.

    Raises:
        DerError: it is not; nothing is read beyond the end.
    """
    found = []
    while data:
        length, header = _length(data)
        if len(data) < header + length:
            raise DerError("an element is cut short")
        found.append(Element(data[0], data[header : header + length], data[: header + length]))
        data = data[header + length :]
    return found


def only(data: bytes, tag: int) -> Element:
    """Return the single element ``data`` consists of.

    Raises:
        DerError: there are more, or fewer, or its tag is another.
    """
    found = elements(data)
    if len(found) != 1 or found[0].tag != tag:
        raise DerError(f"expected exactly one element with tag 0x{tag:02x}")
    return found[0]


def _length(data: bytes) -> tuple[int, int]:
    """Return the content's length and the header's."""
    if len(data) < 2:
        raise DerError("an element is cut short")
    first = data[1]
    if first < 0x80:
        return first, 2
    count = first & 0x7F
    octets = data[2 : 2 + count]
    if (
        not 1 <= count <= 4
        or len(octets) != count
        # DER has one encoding of each length: no leading zeros, and one octet below 128.
        or octets[0] == 0
        or (count == 1 and octets[0] < 0x80)
    ):
        raise DerError("a length is not in its shortest form")
    return int.from_bytes(octets, "big"), 2 + count
