"""The one error the Hub answers with: a status, the client's error code and a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from inferencebench_pipeline.errors import PermanentError


class HubError(PermanentError):
    """A refusal to be sent to the client.

    ``code`` becomes ``X-Error-Code``: on a plain-http endpoint it alone makes the client raise
    ``RepositoryNotFoundError`` and its siblings (a bare 401 is only understood over https).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        extra: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


def repository_not_found() -> HubError:
    """Return the answer for an absent repository, or for a private one of somebody else."""
    return HubError(404, "Repository not found", code="RepoNotFound")


def entry_not_found(commit: str) -> HubError:
    """Return the answer for a missing file, with the commit that lacks it."""
    return HubError(404, "Entry not found", code="EntryNotFound", headers={"X-Repo-Commit": commit})


def revision_not_found(revision: str) -> HubError:
    """Return the answer for a branch, ref or commit that does not exist."""
    return HubError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")


async def answer_hub_error(_request: Request, error: Exception) -> Response:
    """Turn a :class:`HubError` into the response the client knows how to read."""
    assert isinstance(error, HubError)
    headers = {"X-Error-Message": _header_safe(str(error)), **error.headers}
    if error.code is not None:
        headers["X-Error-Code"] = error.code
    return JSONResponse({"error": str(error), **error.extra}, error.status, headers=headers)


def _header_safe(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ").encode("latin-1", "replace").decode("latin-1")
