"""A card's Markdown as HTML that is safe to show: no raw HTML, no scripts, nothing from outside."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

_FOLD = re.compile(r"<details>(?:<summary>[\w ]+</summary>)?\s*|</details>\s*")
_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _shown_html(_renderer: RendererHTML, tokens: Sequence[Token], at: int, *_: object) -> str:
    """Return HTML of a card: as text, but for a section that folds."""
    content = tokens[at].content
    return content if _FOLD.fullmatch(content) else f"<p>{html.escape(content)}</p>"


_PARSER.add_render_rule("html_block", _shown_html)
_PARSER.add_render_rule("html_inline", lambda _, tokens, at, *__: html.escape(tokens[at].content))


def render_markdown(text: str, *, repo_path: str, revision: str) -> str:
    """Return HTML for ``text``.

    Args:
        text: Markdown (CommonMark with tables); HTML in it is shown as text, but for a section that
            folds (``details``).
        repo_path: the repository's page, such as ``/datasets/owner/name``.
        revision: what relative images and links are looked up at.
    """
    environment: dict[str, object] = {}
    tokens = _PARSER.parse(text, environment)
    for token in _all_inline(tokens):
        if token.type == "image":
            _localise_image(token, f"{repo_path}/resolve/{quote(revision, safe='')}")
        elif token.type == "link_open":
            _localise_link(token, f"{repo_path}/blob/{quote(revision, safe='')}")
    return str(_PARSER.renderer.render(tokens, _PARSER.options, environment))


def _all_inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        for child in token.children or []:
            yield child
            if child.children:
                yield from _all_inline([child])


def _localise_image(token: Token, files: str) -> None:
    source = str(token.attrGet("src") or "")
    if _is_relative(source):
        token.attrSet("src", f"{files}/{source.removeprefix('./')}")
        return
    # Pictures from elsewhere would tell that server who reads the page.
    token.type, token.tag = "text", ""
    token.content = f"[image: {token.content or source}]"


def _localise_link(token: Token, files: str) -> None:
    target = str(token.attrGet("href") or "")
    if _is_relative(target):
        token.attrSet("href", f"{files}/{target.removeprefix('./')}")
    token.attrSet("rel", "nofollow noreferrer")


def _is_relative(url: str) -> bool:
    parts = urlsplit(url)
    return not parts.scheme and not parts.netloc and bool(parts.path) and parts.path[0] != "/"
