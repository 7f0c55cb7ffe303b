"""MkDocs hooks: pages of the site that do not lie in ``docs/``.

``CONTRIBUTING.md`` and its neighbours lie where people look for them in a repository. The site
shows them as pages of its own. Links between the two places are rewritten, and a link to a file
that no page shows, such as a folder of specs, becomes its name. The pages of the Python API list
what the face of each room names, so that they cannot fall behind it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "inferencebench_pipeline"
TOP_PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]*)(#[^)\s]*)?\)")
_ROOMS = """\
# Python API

The `__init__.pyi` of a room names what other code may import. Everything else is private to the
room and may change without notice. [Examples of five lines](../python.md) are the better place to
begin.

| Room | Contents |
|---|---|
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's top folder, and one for the face of each room."""
    pages = {
        page: relinked((ROOT / name).read_text(encoding="utf-8"), in_docs=False)
        for name, page in TOP_PAGES.items()
    }
    for path, content in (pages | api_pages()).items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return the page with its links out of ``docs/`` pointing at pages of the site."""
    return markdown if page.file.generated_by else relinked(markdown, in_docs=True)


def api_pages() -> dict[str, str]:
    """Return a page for each room that has a face, and one that lists them, by their paths."""
    faces = sorted(PACKAGE.glob("*/__init__.pyi"))
    pages, table = {}, _ROOMS
    for face in faces:
        room, words = face.parent.name, _first_line(face.with_suffix(".py"))
        pages[f"api/{room}.md"] = f"# `{room}`\n\n{words}\n\n" + _names(face)
        table += f"| [`{room}`]({room}.md) | {words} |\n"
    return {"api/index.md": table, **pages}


def _first_line(module: Path) -> str:
    words = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return words.partition("\n")[0]


def _names(face: Path) -> str:
    """Return a directive of mkdocstrings for each name of a face, in alphabetical order."""
    room = f"{PACKAGE.name}.{face.parent.name}"
    names = {
        alias.name: f"{room}.{node.module}.{alias.name}"
        for node in ast.parse(face.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return "".join(f"::: {names[name]}\n\n" for name in sorted(names, key=str.lower))


def relinked(markdown: str, *, in_docs: bool) -> str:
    """Return the text with each relative link as the site needs it."""

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        if not target or "://" in target:
            return found[0]
        inside = _inside_docs(target, in_docs=in_docs)
        return words if inside is None else f"[{words}]({inside}{anchor})"

    return _LINK.sub(link, markdown)


def _inside_docs(target: str, *, in_docs: bool) -> str | None:
    """Return the page of the site that a relative link means, or None when no page shows it."""
    if in_docs and not target.startswith("../"):
        return target
    name = target.removeprefix("../")
    if name in TOP_PAGES:
        return TOP_PAGES[name]
    return name.removeprefix("docs/") if name.startswith("docs/") else None
