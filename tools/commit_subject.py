"""Refuses a commit whose subject is longer than the 72 characters that CONTRIBUTING.md allows.

The pre-commit hook ``subject`` runs it with the path of the file that holds the message.
"""

from __future__ import annotations

import sys
from pathlib import Path

LONGEST = 72


def main(message: Path) -> str | None:
    """Return a sentence when the subject in the file is too long, else None."""
    subject = message.read_text(encoding="utf-8").partition("\n")[0].rstrip()
    if len(subject) <= LONGEST:
        return None
    return (
        f"The subject has {len(subject)} characters. Keep it to {LONGEST}, and say why in the body."
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
