"""Reading one repository: info, tree, paths-info, commits, refs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub.context import (
    REPO_API,
    flag,
    hub_of,
    next_link,
    number_query,
    param,
    visible_repository,
)
from inferencebench_pipeline.sandbox.hub.describe import describe, files_of, requested_properties
from inferencebench_pipeline.sandbox.hub.errors import HubError, entry_not_found
from inferencebench_pipeline.sandbox.hub.objects import Commit, FileEntry, lfs_pointer
from inferencebench_pipeline.sandbox.hub.repository import Repository

# The Hub's own sizes: a list with the last commit of each file has shorter pages.
TREE_PAGE = 1000
EXPANDED_TREE_PAGE = 50
COMMITS_PAGE = 50


def info(request: Request) -> Response:
    """Describe the repository at main or at a revision; ``expand`` picks properties."""
    repository = visible_repository(request)
    revision = param(request, "revision") if "revision" in request.path_params else "main"
    commit = repository.resolve(revision)
    tokens = hub_of(request).verify_tokens
    properties = requested_properties(request.query_params.getlist("expand"))
    if properties is None:
        description = describe(repository, commit, tokens)
        description["siblings"] = files_of(commit, sizes=flag(request, "blobs"))
        return JSONResponse(description)
    return JSONResponse(describe(repository, commit, tokens, properties))


def tree(request: Request) -> Response:
    """List a folder, or everything under it; pages are linked by ``Link``."""
    repository = visible_repository(request)
    commit = repository.resolve(param(request, "revision"))
    folder = param(request, "path").strip("/") if "path" in request.path_params else ""
    expand, recursive = flag(request, "expand"), flag(request, "recursive")
    entries = _entries_under(commit, folder, recursive=recursive)
    if folder and not entries:
        raise entry_not_found(commit.oid)
    size = min(
        number_query(request, "limit", TREE_PAGE),
        EXPANDED_TREE_PAGE if expand else TREE_PAGE,
    )
    after = _decode_cursor(request.query_params.get("cursor"))
    # The cursor names the last path shown, so a page does not shift when files come.
    paths = [path for path in sorted(entries) if path > after]
    page = paths[:size]
    headers = next_link(request, cursor=_encode_cursor(page[-1])) if len(paths) > size else {}
    listed = _listed(repository, commit, {path: entries[path] for path in page}, expand=expand)
    return JSONResponse(listed, headers=headers)


async def paths_info(request: Request) -> Response:
    """Describe the given paths; those that do not exist are left out, as on the Hub."""
    repository = visible_repository(request)
    commit = repository.resolve(param(request, "revision"))
    form = await request.form()
    entries: dict[str, FileEntry | None] = {}
    for path in (str(value).strip("/") for value in form.getlist("paths")):
        if path in commit.tree:
            entries[path] = commit.tree[path]
        elif _entries_under(commit, path, recursive=False):
            entries[path] = None
    expand = str(form.get("expand", "")).lower() in ("1", "true")
    return JSONResponse(_listed(repository, commit, entries, expand=expand))


def commits(request: Request) -> Response:
    """List the history of a revision, newest first."""
    repository = visible_repository(request)
    history = list(repository.history(repository.resolve(param(request, "revision"))))
    page = number_query(request, "p", 0)
    shown = history[page * COMMITS_PAGE : (page + 1) * COMMITS_PAGE]
    more = len(history) > (page + 1) * COMMITS_PAGE
    return JSONResponse(
        [
            {
                "id": commit.oid,
                "title": commit.title,
                "message": commit.message,
                "date": commit.created_at,
                "authors": [{"user": commit.author}],
            }
            for commit in shown
        ],
        headers={
            "X-Total-Count": str(len(history)),
            **(next_link(request, p=str(page + 1)) if more else {}),
        },
    )


def refs(request: Request) -> Response:
    """List branches and, when asked, the refs of pull requests."""
    repository = visible_repository(request)
    listed: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": []}
    if flag(request, "include_prs"):
        listed["pullRequests"] = []
    for ref, oid in sorted(repository.refs.items()):
        name = ref.removeprefix("refs/heads/").removeprefix("refs/pr/")
        section = "pullRequests" if ref.startswith("refs/pr/") else "branches"
        if section in listed:
            listed[section].append({"name": name, "ref": ref, "targetCommit": oid})
    return JSONResponse(listed)


def _entries_under(commit: Commit, folder: str, *, recursive: bool) -> dict[str, FileEntry | None]:
    """Return files (with entries) and folders (without) below ``folder``."""
    prefix = f"{folder}/" if folder else ""
    found: dict[str, FileEntry | None] = {}
    for path, entry in commit.tree.items():
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts)):
            if depth == 1 or recursive:
                found[prefix + "/".join(parts[:depth])] = None
        if recursive or len(parts) == 1:
            found[path] = entry
    return found


def _listed(
    repository: Repository,
    commit: Commit,
    entries: Mapping[str, FileEntry | None],
    *,
    expand: bool,
) -> list[dict[str, object]]:
    """Return entries as the client reads them; expanded ones name their last commit.

    fsspec, and with it DuckDB, takes a file without ``lastCommit`` for broken.
    """
    last = repository.last_changes(commit, list(entries)) if expand else {}
    listed = []
    for path, entry in entries.items():
        item = _folder(commit, path) if entry is None else _file(path, entry)
        if path in last:
            item["lastCommit"] = {
                "id": last[path].oid,
                "title": last[path].title,
                "date": last[path].created_at,
            }
        listed.append(item)
    return listed


def _file(path: str, entry: FileEntry) -> dict[str, object]:
    item: dict[str, object] = {
        "type": "file",
        "oid": entry.oid,
        "size": entry.size_bytes,
        "path": path,
    }
    if entry.lfs_sha256 is not None:
        pointer = lfs_pointer(entry.lfs_sha256, entry.size_bytes)
        item["lfs"] = {
            "oid": entry.lfs_sha256,
            "size": entry.size_bytes,
            "pointerSize": len(pointer),
        }
    return item


def _folder(commit: Commit, path: str) -> dict[str, object]:
    inside = sorted((p, e.oid) for p, e in commit.tree.items() if p.startswith(f"{path}/"))
    # Not git's own id of a tree, which no client compares. It changes with what is inside.
    oid = hashlib.sha1(repr(inside).encode(), usedforsecurity=False).hexdigest()
    return {"type": "directory", "oid": oid, "size": 0, "path": path}


def _encode_cursor(path: str) -> str:
    return base64.urlsafe_b64encode(path.encode()).decode()


def _decode_cursor(cursor: str | None) -> str:
    try:
        return base64.urlsafe_b64decode(cursor).decode() if cursor else ""
    except ValueError as error:
        raise HubError(400, "Invalid cursor") from error


routes = [
    Route(REPO_API, info, methods=["GET"]),
    Route(f"{REPO_API}/revision/{{revision}}", info, methods=["GET"]),
    Route(f"{REPO_API}/tree/{{revision}}", tree, methods=["GET"]),
    Route(f"{REPO_API}/tree/{{revision}}/{{path:path}}", tree, methods=["GET"]),
    Route(f"{REPO_API}/paths-info/{{revision}}", paths_info, methods=["POST"]),
    Route(f"{REPO_API}/commits/{{revision}}", commits, methods=["GET"]),
    Route(f"{REPO_API}/refs", refs, methods=["GET"]),
]
