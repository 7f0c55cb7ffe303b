"""Writing of YAML that every reader reads alike, whether it follows YAML 1.1 or 1.2."""

from __future__ import annotations

import re
from typing import Final

import yaml

from inferencebench_pipeline.untrusted.text import visible

_NUMBER_IN_YAML_1_2: Final = re.compile(
    r"[-+]?(?:0o[0-7]+|0x[0-9a-fA-F]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
)
"""Text that a YAML 1.2 reader takes for a number, and the 1.1 writer therefore leaves unquoted."""
_ACTING: Final = re.compile(r"[^\n -~]")
"""Characters that may act or hide; a text in double quotes holds their escapes instead."""
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
# YAML 1.1 reads these as booleans or null.
_RESERVED: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_TEXT: Final = "tag:yaml.org,2002:str"


class Quoted(str):
    """Text that is written in double quotes whatever it holds."""

    __slots__ = ()


class _Writer(yaml.SafeDumper):
    """Writes each text on one line, so that none can look like the end of a block."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        # An object that occurs twice is written twice: an anchor of ours could meet one of theirs.
        return True


class _QuotingWriter(_Writer):
    """Quotes every text that any parser could take for something else."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        # Items of a list inside a mapping are indented, as the Hub's own examples are.
        return super().increase_indent(flow, False)


def _text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if _NUMBER_IN_YAML_1_2.fullmatch(text) else None
    if text != "".join(text.splitlines()) or visible(text) != text:
        style = '"'
    return writer.represent_scalar(_TEXT, text, style=style)


def _quoted_text(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    safe = _PLAIN.fullmatch(text) and text.lower() not in _RESERVED
    style = '"' if isinstance(text, Quoted) or not safe else None
    return writer.represent_scalar(_TEXT, str(text), style=style)


_Writer.add_representer(str, _text)
_QuotingWriter.add_representer(str, _quoted_text)
_QuotingWriter.add_representer(Quoted, _quoted_text)


def write_yaml(document: object, *, quoting: bool = False) -> str:
    """Return ``document`` as YAML: keys in their order, and the same text for the same document.

    Args:
        document: mappings, lists, texts, numbers, dates and ``None``.
        quoting: whether every text is quoted that is not a plain word, for files whose readers
            guess types; the items of lists are then indented.
    """
    text = yaml.dump(
        document,
        Dumper=_QuotingWriter if quoting else _Writer,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=2**31,
    )
    return text if quoting else _ACTING.sub(lambda found: _escaped(found[0]), text)


def _escaped(mark: str) -> str:
    """Return a character as a double-quoted scalar of YAML escapes it, if it acts or hides."""
    if visible(mark) == mark:
        return mark
    return f"\\u{ord(mark):04X}" if ord(mark) < 0x10000 else f"\\U{ord(mark):08X}"
