"""The output of all commands, in which no stranger's text can act on the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment
from rich.text import Text

from inferencebench_pipeline.untrusted import visible

_MARGIN = "  "
_NARROWEST = 40
MAX_ERROR_CHARACTERS = 20_000
"""The longest message of an error that ends a command; a longer one quotes a stranger."""


def console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Return a console that reads no markup in texts and shows control characters visibly.

    The console's own colours and progress bars still work.
    """
    made = Console(
        stderr=stderr,
        highlight=False,
        markup=False,
        # A stranger's ``:heavy_check_mark:`` stays what it is.
        emoji=False,
        soft_wrap=soft_wrap,
        # Rich leaves out colours for NO_COLOR, but not bold and dim (https://no-color.org).
        color_system=None if Console().no_color else "auto",
    )
    made.push_render_hook(_Visible())
    return made


def say(line: str, *, stderr: bool = False) -> None:
    """Print one or several lines, which are not wrapped."""
    console(stderr=stderr, soft_wrap=True).print(line)


def say_hanging(text: str, *, stderr: bool = False) -> None:
    """Print a text that quotes a stranger: only its first line begins at the margin.

    On a terminal, lines that are too long for it continue under themselves; elsewhere they stay
    whole.
    """
    out = console(stderr=stderr, soft_wrap=True)
    lines = list(map(Text, text.splitlines()))
    if out.is_terminal:
        width = max(out.width, _NARROWEST) - len(_MARGIN)
        lines = [part for line in lines for part in line.wrap(out, width, overflow="fold")]
    for number, line in enumerate(lines):
        out.print(Text(_MARGIN * (number > 0)) + line)


def say_document(text: str) -> None:
    """Print a document unchanged, except for characters that act on a terminal or hide."""
    # Not through Rich, which would wrap the lines of a document.
    print(visible(text), end="")


def say_quoting_document(text: str) -> None:
    """Print a document that quotes a stranger, such as a card.

    On a terminal, a line that is too long for it continues under itself, so that no quoted text
    begins a row. Elsewhere, as in a file, the document is unchanged.
    """
    out = console(soft_wrap=True)
    if not out.is_terminal:
        say_document(text)
        return
    width = max(out.width, _NARROWEST) - len(_MARGIN)
    for line in visible(text.removesuffix("\n")).split("\n"):
        for number, part in enumerate(Text(line).wrap(out, width, overflow="fold") or [Text()]):
            out.print(Text(_MARGIN * (number > 0)) + part)


def say_json(text: str) -> None:
    """Print JSON text, with JSON's escapes for characters that act on a terminal or hide."""
    shown = text
    if not text.isprintable():
        # JSON texts hold no raw line break, so each one here is layout.
        acting = {mark for mark in set(text) if mark != "\n" and visible(mark) != mark}
        shown = text.translate({ord(mark): json.dumps(mark)[1:-1] for mark in acting})
    print(shown)


def say_error(error: Exception) -> None:
    """Print the error that ends a command on stderr.

    Only its first line begins at the margin: a name that the message quotes may have line breaks,
    or be as long as the terminal is wide, and could else look like a line of ours.
    """
    said = visible(str(error))
    if len(said) > MAX_ERROR_CHARACTERS:
        said = f"{said[:MAX_ERROR_CHARACTERS]}… ({len(said)} characters)"
    say_hanging(f"error: {said}", stderr=True)


class _Visible(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Shown(item) for item in renderables]


class _Shown:
    """A renderable in whose texts all characters are made visible before they are printed."""

    def __init__(self, content: ConsoleRenderable) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _visible(console.render(self._content, options))


def _visible(segments: Iterable[Segment]) -> Iterable[Segment]:
    for segment in segments:
        # Control segments are Rich's own, such as those that move the cursor of a progress bar.
        if segment.control or segment.text.isprintable():
            yield segment
        else:
            yield Segment(visible(segment.text), segment.style)
