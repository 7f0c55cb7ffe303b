"""Fetches the libraries that our pages carry, and writes down what was fetched.

``make vendor`` runs it, and needs npm; nothing else does. To update a library, change its version
here, run it, look at the pages, and commit what changed.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "inferencebench_pipeline/leaderboard/site/vendor"
TESTS = ROOT / "tests/data/axe"
DOCS = ROOT / "docs/vendor"
DEADLINE_S = 120


@dataclass(frozen=True)
class Library:
    """One package, and which of its files are taken under which names."""

    package: str
    version: str
    licence: str
    purpose: str
    folder: Path
    files: dict[str, str]


LIBRARIES = (
    Library(
        package="@tanstack/table-core",
        version="8.21.3",
        licence="MIT",
        purpose="sorting, filtering, facets and pages of the table; the last version with a build "
        "that a plain script tag loads, as pages opened from a folder need",
        folder=PAGES,
        files={"build/umd/index.production.js": "table-core.js", "LICENSE": "table-core.LICENSE"},
    ),
    Library(
        package="d3",
        version="7.9.2",
        licence="ISC",
        purpose="scales, axes and shapes of the plots",
        folder=PAGES,
        files={"dist/d3.min.js": "d3.min.js", "LICENSE": "d3.LICENSE"},
    ),
    Library(
        package="axe-core",
        version="4.14.1",
        licence="MPL-2.0",
        purpose="the accessibility rules that the pages are tested with; test data, never shipped",
        folder=TESTS,
        files={
            "axe.min.js": "axe.min.js",
            "LICENSE": "LICENSE",
            "LICENSE-3RD-PARTY.txt": "LICENSE-3RD-PARTY.txt",
        },
    ),
    Library(
        package="@mermaid-js/tiny",
        version="11.17.2",
        licence="MIT",
        purpose="draws the diagrams of the documentation; its theme would fetch it from a CDN",
        folder=DOCS,
        files={"dist/mermaid.tiny.js": "mermaid.tiny.js", "LICENSE": "mermaid.LICENSE"},
    ),
)

HEAD = """\
# {title}

{words}
Written by `make vendor` (`tools/vendor.py`), which needs npm; to update a library, change its
version there, run it, look at the pages, and commit what changed. A test compares the digests.

| file | package | version | licence | SHA-256 |
|---|---|---|---|---|
"""
TITLES = {
    PAGES: ("Vendored libraries", "Unchanged files of npm packages, copied into every site."),
    TESTS: ("Vendored test data", "Unchanged files of an npm package, used by the browser tests."),
    DOCS: ("Vendored for the site", "Unchanged files of an npm package, part of the site alone."),
}


def fetch(library: Library) -> list[str]:
    """Write the library's files into its folder and return their lines of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        target = f"{library.package}@{library.version}"
        command = ["npm", "pack", "--silent", "--pack-destination", scratch, target]
        subprocess.run(command, check=True, timeout=DEADLINE_S, stdout=subprocess.DEVNULL)
        (archive,) = Path(scratch).glob("*.tgz")
        lines = []
        with tarfile.open(archive) as tar:
            for member, name in library.files.items():
                content = tar.extractfile(f"package/{member}")
                if content is None:
                    raise SystemExit(f"{target} holds no file {member}")
                data = content.read()
                library.folder.mkdir(parents=True, exist_ok=True)
                (library.folder / name).write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                lines.append(
                    f"| `{name}` | `{library.package}` `{member}` | {library.version} "
                    f"| {library.licence} | `{digest}` |\n"
                )
    return lines


def main() -> None:
    """Fetch every library and write each folder's ``VENDOR.md``."""
    tables: dict[Path, list[str]] = {}
    for library in LIBRARIES:
        tables.setdefault(library.folder, []).extend(fetch(library))
    for folder, lines in tables.items():
        title, words = TITLES[folder]
        text = HEAD.format(title=title, words=words) + "".join(lines) + "\n"
        text += "".join(
            f"- `{library.package}`: {library.purpose}.\n"
            for library in LIBRARIES
            if library.folder == folder
        )
        (folder / "VENDOR.md").write_text(text)


if __name__ == "__main__":
    main()
