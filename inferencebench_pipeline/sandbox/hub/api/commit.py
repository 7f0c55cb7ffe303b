"""Preupload and commit: the two requests that change a repository's files."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub import discussions
from inferencebench_pipeline.sandbox.hub.attributes import goes_to_lfs
from inferencebench_pipeline.sandbox.hub.cards import card_errors
from inferencebench_pipeline.sandbox.hub.context import (
    REPO_API,
    Hub,
    flag,
    hub_of,
    json_body,
    number_field,
    objects_field,
    param,
    require_write,
    text_field,
    visible_repository,
    writer_of,
)
from inferencebench_pipeline.sandbox.hub.errors import HubError
from inferencebench_pipeline.sandbox.hub.evaluations import SPEC_FILE, spec_errors
from inferencebench_pipeline.sandbox.hub.identities import Caller
from inferencebench_pipeline.sandbox.hub.names import RepoKind, check_file_path
from inferencebench_pipeline.sandbox.hub.objects import Commit, lfs_entry
from inferencebench_pipeline.sandbox.hub.repository import Change, CommitMessage, Repository


async def preupload(request: Request) -> Response:
    """Answer for each file whether it goes to LFS, and with the oid of the file at its path.

    The oid is the git blob id of a regular file and the SHA-256 of an LFS file: the client
    compares it with its own and leaves out what has not changed.
    """
    caller = writer_of(request)
    repository = visible_repository(request)
    ref = repository.full_ref(param(request, "revision"))
    _require_ref(caller, repository, ref, create_pr=flag(request, "create_pr"))
    head = repository.resolve(ref)
    attributes = head.tree.get(".gitattributes")
    patterns = (
        repository.objects.blob_path(attributes.oid).read_text(errors="replace")
        if attributes is not None and attributes.lfs_sha256 is None
        else ""
    )
    answers = []
    for file in objects_field(await json_body(request), "files"):
        path = check_file_path(text_field(file, "path"))
        present = head.tree.get(path)
        lfs = goes_to_lfs(path, number_field(file, "size"), patterns)
        answers.append(
            {
                "path": path,
                "uploadMode": "lfs" if lfs else "regular",
                # The Hub says this of files that a .gitignore excludes, which is not played here.
                "shouldIgnore": False,
                **({"oid": present.etag} if present is not None else {}),
            }
        )
    return JSONResponse({"files": answers, "commitOid": head.oid})


async def commit(request: Request) -> Response:
    """Commit all operations of the body together, to the ref or to a new pull request."""
    caller = writer_of(request)
    repository = visible_repository(request)
    ref = repository.full_ref(param(request, "revision"))
    create_pr = flag(request, "create_pr")
    _require_ref(caller, repository, ref, create_pr=create_pr)
    lines = _parse_lines(await request.body())
    perform = partial(_commit, hub_of(request), caller, repository, ref, lines, create_pr)
    return await run_in_threadpool(perform)


def _commit(
    hub: Hub,
    caller: Caller,
    repository: Repository,
    ref: str,
    lines: list[tuple[str, dict[str, Any]]],
    create_pr: bool,
) -> Response:
    header = next((value for key, value in lines if key == "header"), {})
    assert caller.name is not None
    message = CommitMessage(
        caller.name, text_field(header, "summary"), str(header.get("description") or "")
    )
    parent: str | None = header.get("parentCommit")
    hub.quotas.spend_commit(caller.name)
    with repository.writing():
        changes = list(_changes(hub, repository, lines))
        if create_pr:
            base = parent or repository.resolve(ref).oid
            pull_request, made = discussions.open_pull_request(
                repository, ref, changes, message, base=base
            )
            pr_url = f"{repository.id.web_path}/discussions/{pull_request.num}"
            extra = {"pullRequestUrl": hub.url(pr_url)}
            ref, before = pull_request.ref, None
        else:
            before = repository.refs[ref]
            made = repository.commit(ref, changes, message, expected_parent=parent)
            extra = {}
    # Told only now: whoever is told may read the commit at once.
    hub.webhooks.content_changed(repository, hub.base_url, ref, before, made.oid)
    return JSONResponse(_receipt(hub, repository, made) | extra)


def _receipt(hub: Hub, repository: Repository, made: Commit) -> dict[str, object]:
    return {
        "success": True,
        "commitOid": made.oid,
        "commitUrl": hub.url(f"{repository.id.web_path}/commit/{made.oid}"),
        "hookOutput": "",
    }


def _require_ref(caller: Caller, repository: Repository, ref: str, *, create_pr: bool) -> None:
    """Anyone with a write token may open a pull request, and push to the one they opened."""
    if create_pr:
        return
    if ref.startswith("refs/pr/"):
        number = int(ref.removeprefix("refs/pr/"))
        if discussions.load(repository, number).author == caller.name:
            return
    require_write(caller, repository)


def _parse_lines(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    lines = []
    for number, raw in enumerate(body.splitlines(), start=1):
        if not raw.strip():
            continue
        try:
            line = json.loads(raw)
            key, value = line["key"], line["value"]
        except (ValueError, KeyError, TypeError) as error:
            raise HubError(400, f"Line {number} of the commit is not a JSON operation") from error
        if not isinstance(value, dict):
            raise HubError(400, f"Line {number} of the commit has no object as value")
        lines.append((str(key), value))
    return lines


def _changes(
    hub: Hub, repository: Repository, lines: list[tuple[str, dict[str, Any]]]
) -> Iterator[Change]:
    for key, value in lines:
        if key == "header":
            continue
        # The client names a folder with a slash at its end.
        path = check_file_path(text_field(value, "path").rstrip("/"))
        if key == "file":
            content = _decode(value)
            _check_metadata(repository, path, content)
            yield Change(path, repository.objects.add_blob(content))
        elif key == "lfsFile":
            sha256, size_bytes = text_field(value, "oid"), number_field(value, "size")
            if not hub.store.lfs.has(sha256, size_bytes):
                raise HubError(400, f"LFS object of {path!r} was not uploaded: {sha256}")
            yield Change(path, lfs_entry(sha256, size_bytes))
        elif key in ("deletedFile", "deletedFolder"):
            yield Change(path, None, is_folder=key == "deletedFolder")
        else:
            raise HubError(400, f"Unknown commit operation {key!r}")


def _decode(value: Mapping[str, Any]) -> bytes:
    content = value.get("content", "")
    if value.get("encoding") != "base64":
        return str(content).encode()
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise HubError(400, f"Content of {value.get('path')!r} is not base64") from error


def _check_metadata(repository: Repository, path: str, content: bytes) -> None:
    # The Hub validates at the commit too, whether or not the client asked for a validation before.
    if path == SPEC_FILE and repository.id.kind is RepoKind.DATASET:
        errors = spec_errors(content)
        if errors:
            raise HubError(400, f"Invalid {SPEC_FILE}: " + "; ".join(errors))
    if path == "README.md":
        errors = card_errors(content.decode("utf-8", errors="replace"))
        if errors:
            raise HubError(400, "Invalid metadata in README.md: " + "; ".join(errors))


routes = [
    Route(f"{REPO_API}/preupload/{{revision}}", preupload, methods=["POST"]),
    Route(f"{REPO_API}/commit/{{revision}}", commit, methods=["POST"]),
]
