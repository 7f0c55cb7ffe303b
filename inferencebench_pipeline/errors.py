"""The two families every error of this project belongs to: worth retrying, or not."""

from __future__ import annotations


class PipelineError(Exception):
    """Base of every error this project raises on purpose.

    The message says what failed, where, and what to do about it; the cause is kept with
    ``raise ... from``. It never holds a secret, and as text it holds no character that acts on a
    terminal: whoever prints, logs or sends it need not know whose words it quotes.
    """

    def __str__(self) -> str:
        said = super().__str__()
        if said.isprintable():
            return said
        return "".join(
            mark if mark == "\n" or mark.isprintable() else _escaped(mark) for mark in said
        )


def _escaped(mark: str) -> str:
    return mark.encode("unicode_escape", "surrogatepass").decode("ascii")


class RetryableError(PipelineError):
    """An outage or a race: the same call may succeed later, nothing is wrong with the input."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        """Seconds the other side asked us to wait, when it said so."""


class PermanentError(PipelineError):
    """Retrying cannot help: the input, the configuration or the permission must change."""
