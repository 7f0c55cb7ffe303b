"""Downloading a file at a revision: HEAD and GET, whole or by range.

LFS files are served directly, not by redirect to a store: the client follows a same-origin
redirect already in HEAD, where the target would have to repeat all of these headers.
"""

from __future__ import annotations

import mimetypes

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub.context import (
    REPO_WEB,
    flag,
    hub_of,
    param,
    visible_repository,
)
from inferencebench_pipeline.sandbox.hub.errors import entry_not_found

_SAFE_TO_SHOW = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")


def resolve(request: Request) -> Response:
    """Answer with the bytes of a file and the commit they are from."""
    repository = visible_repository(request)
    commit = repository.resolve(param(request, "revision"))
    path = param(request, "path")
    entry = commit.tree.get(path)
    if entry is None:
        raise entry_not_found(commit.oid)
    headers = {
        "ETag": f'"{entry.etag}"',
        "X-Repo-Commit": commit.oid,
        # The file is a stranger's, and opened in a browser it must not run anything here.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Access-Control-Expose-Headers": "X-Repo-Commit, ETag, X-Linked-Size, X-Linked-Etag",
    }
    if entry.lfs_sha256 is None:
        location = repository.objects.blob_path(entry.oid)
    else:
        location = hub_of(request).store.lfs.path(entry.lfs_sha256)
        headers |= {"X-Linked-Size": str(entry.size_bytes), "X-Linked-Etag": f'"{entry.etag}"'}
    guessed = mimetypes.guess_type(path)[0] or "application/octet-stream"
    # Anything else is shown as text, so that a browser runs nothing of it.
    shown = guessed if guessed in _SAFE_TO_SHOW else "text/plain; charset=utf-8"
    if entry.lfs_sha256 is not None and shown.startswith("text"):
        shown = "application/octet-stream"
    disposition = "attachment" if flag(request, "download") else "inline"
    return FileResponse(
        location,
        headers=headers,
        media_type=shown,
        filename=path.rsplit("/", 1)[-1],
        content_disposition_type=disposition,
    )


routes = [
    Route(f"{REPO_WEB}/resolve/{{revision}}/{{path:path}}", resolve, methods=["GET", "HEAD"]),
]
