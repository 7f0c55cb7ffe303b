"""One commit, request by request: ask what is there, store large files, commit the rest.

The client library has a call for this; ours sends fewer requests (the Hub checks a card's front
matter at the commit anyway), builds the commit on the very state that the first request saw, and
leaves every repetition to the one retry policy. Protocol: git-lfs batch API v1 with the Hub's
multipart transfer, and the Hub's ``preupload`` and ``commit`` calls.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from inferencebench_pipeline.hub.client.errors import (
    HubHeadMovedError,
    HubIntegrityError,
    HubRejectedError,
)
from inferencebench_pipeline.hub.client.repo import Repo, git_blob_oid
from inferencebench_pipeline.hub.client.transport import get_session, hf_raise_for_status
from inferencebench_pipeline.hub.client.wire import Wire, headers, json_object, reading
from inferencebench_pipeline.untrusted import printable

# As much as the client library shows the Hub, which decides by it how a file is to be sent.
_SAMPLE_BYTES = 512
_PART_NUMBER = re.compile(r"[0-9]{1,6}")
_LFS_JSON = "application/vnd.git-lfs+json"


@dataclass(frozen=True)
class _Sighting:
    """The Hub's answer before a commit: its head, and the way in which it wants each file."""

    head: str
    """Empty when the Hub does not say."""
    large: frozenset[str]
    present: Mapping[str, str]
    """The oid under each of our paths that is taken already."""


def send_commit(
    wire: Wire,
    repo: Repo,
    files: Mapping[str, bytes | None],
    *,
    message: str,
    parent: str | None,
    revision: str,
) -> str:
    """Commit ``files`` on top of ``parent`` and return the commit's id.

    When all of them are there already, as after a lost response, nothing is committed and the id
    of the head that holds them is returned.

    Args:
        wire: the Hub and the token.
        repo: which must exist.
        files: path to content; ``None`` to remove the file, which needs a parent.
        message: the commit's title.
        parent: the commit that ``revision`` must still point to; ``None`` to only add: none of
            the paths may hold other content, now or at the moment of the commit.
        revision: branch or pull request.

    Raises:
        HubHeadMovedError: somebody committed meanwhile, or a path to be added is taken.
    """
    wire.require_token()
    removed = [path for path, data in files.items() if data is None]
    put = {path: data for path, data in files.items() if data is not None}
    if removed and parent is None:
        raise HubRejectedError(
            f"{', '.join(removed)} of {repo.id} can only be removed from a commit that was read; "
            "name it as the parent"
        )
    seen = _seen(wire, repo, put, revision) if put else _Sighting(parent or "", frozenset(), {})
    changed = {
        path: data for path, data in put.items() if seen.present.get(path) != _oid(seen, path, data)
    }
    if not changed and not removed:
        # The files are there already, as after a response that was lost.
        return seen.head
    if parent is None:
        if taken := sorted(path for path in changed if path in seen.present):
            raise HubHeadMovedError(
                f"{repo.id} holds another {', '.join(taken)} meanwhile; read again"
            )
        # Added on top of the head that was looked at: if it has moved meanwhile, the Hub refuses.
        parent = seen.head
    large = {path: data for path, data in changed.items() if path in seen.large}
    if large:
        _store(wire, repo, large, revision)
    answer = get_session().post(
        wire.url(f"{repo.api_path}/commit/{quote(revision, safe='')}"),
        headers={**wire.headers(), "Content-Type": "application/x-ndjson"},
        content=b"\n".join(_operations(seen, changed, removed, message, parent)) + b"\n",
    )
    hf_raise_for_status(answer)
    committed = json_object(answer)
    with reading(f"the answer to the commit to {repo.id}"):
        return str(committed["commitOid"])


def _seen(wire: Wire, repo: Repo, files: Mapping[str, bytes], revision: str) -> _Sighting:
    seen = _look(wire, repo, files, revision)
    if seen.head:
        return seen
    # A Hub that does not say where it looked: look again, with the head known beforehand.
    head = _head(wire, repo, revision)
    return replace(_look(wire, repo, files, revision), head=head)


def _look(wire: Wire, repo: Repo, files: Mapping[str, bytes], revision: str) -> _Sighting:
    answer = wire.post_for_object(
        f"{repo.api_path}/preupload/{quote(revision, safe='')}",
        {
            "files": [
                {
                    "path": path,
                    "sample": base64.b64encode(data[:_SAMPLE_BYTES]).decode(),
                    "size": len(data),
                }
                for path, data in files.items()
            ]
        },
    )
    with reading(f"the answer about the files to commit to {repo.id}"):
        rows = {str(row["path"]): row for row in answer["files"]}
        ignored = sorted(path for path in files if rows[path].get("shouldIgnore"))
        if ignored:
            raise HubRejectedError(
                f"the .gitignore of {repo.id} excludes {', '.join(ignored)}; remove it there"
            )
        modes = {path: rows[path]["uploadMode"] for path in files}
        return _Sighting(
            head=str(answer.get("commitOid") or ""),
            # An empty object cannot be stored as a large file.
            large=frozenset(path for path, data in files.items() if modes[path] == "lfs" and data),
            present={path: str(rows[path]["oid"]) for path in files if rows[path].get("oid")},
        )


def _oid(seen: _Sighting, path: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if path in seen.large else git_blob_oid(data)


def _head(wire: Wire, repo: Repo, revision: str) -> str:
    answer = wire.get_object(wire.url(f"{repo.api_path}/revision/{quote(revision, safe='')}"))
    with reading(f"the answer about {repo.id} at {revision}"):
        return str(answer["sha"])


def _operations(
    seen: _Sighting,
    files: Mapping[str, bytes],
    removed: Sequence[str],
    message: str,
    parent: str,
) -> Iterator[bytes]:
    """Yield the lines of the commit's body."""
    yield _line("header", {"summary": message, "description": "", "parentCommit": parent})
    for path, data in files.items():
        if path in seen.large:
            oid = hashlib.sha256(data).hexdigest()
            yield _line("lfsFile", {"path": path, "algo": "sha256", "oid": oid, "size": len(data)})
        else:
            content = base64.b64encode(data).decode()
            yield _line("file", {"content": content, "path": path, "encoding": "base64"})
    for path in removed:
        yield _line("deletedFile", {"path": path})


def _line(key: str, value: Mapping[str, object]) -> bytes:
    return json.dumps({"key": key, "value": value}).encode()


def _store(wire: Wire, repo: Repo, files: Mapping[str, bytes], revision: str) -> None:
    """Bring large files into the Hub's store; what it has already is not sent again."""
    # By digest, because files of equal content are one object of the store.
    contents = {hashlib.sha256(data).hexdigest(): data for data in files.values()}
    answer = get_session().post(
        wire.url(f"{repo.url_path}.git/info/lfs/objects/batch"),
        headers={**wire.headers(), "Accept": _LFS_JSON, "Content-Type": _LFS_JSON},
        json={
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": [{"oid": oid, "size": len(data)} for oid, data in contents.items()],
            "hash_algo": "sha256",
            "ref": {"name": revision},
        },
    )
    hf_raise_for_status(answer)
    batch = json_object(answer)
    with reading(f"the answer of the store of {repo.id}"):
        # The whole answer is understood before the first byte is sent.
        wanted = [_wanted(repo, item, contents) for item in batch["objects"]]
    for one in wanted:
        if one is not None:
            _store_one(wire, one)


@dataclass(frozen=True)
class _Transfer:
    """Instructions of the store for one object that it does not have."""

    oid: str
    data: bytes
    href: str
    extra: Mapping[str, str]
    """Headers to send along; of a transfer in parts, their size and addresses."""
    chunk_bytes: int | None
    verify_at: str | None


def _wanted(repo: Repo, item: Mapping[str, Any], contents: Mapping[str, bytes]) -> _Transfer | None:
    """Return what the store asks for with one object; None when it has it."""
    oid, data = str(item["oid"]), contents[item["oid"]]
    if "error" in item:
        error = item["error"]
        message = error.get("message", error) if isinstance(error, dict) else error
        raise HubRejectedError(f"the store of {repo.id} refuses object {oid}: {printable(message)}")
    actions = item.get("actions")
    if not actions:
        return None
    upload = actions["upload"]
    extra = {str(key): str(value) for key, value in upload.get("header", {}).items()}
    chunk_bytes = int(extra["chunk_size"]) if "chunk_size" in extra else None
    if chunk_bytes is not None and chunk_bytes < 1:
        raise ValueError("parts of no bytes")
    return _Transfer(
        oid=oid,
        data=data,
        href=str(upload["href"]),
        extra=extra,
        chunk_bytes=chunk_bytes,
        verify_at=str(actions["verify"]["href"]) if "verify" in actions else None,
    )


def _store_one(wire: Wire, wanted: _Transfer) -> None:
    oid, data = wanted.oid, wanted.data
    if wanted.chunk_bytes is not None:
        _put_parts(wanted.href, oid, data, wanted.extra, wanted.chunk_bytes)
    else:
        _put(wanted.href, data, wanted.extra)
    if wanted.verify_at is not None:
        href = wanted.verify_at
        # The store may be another host, and the token is for the Hub alone.
        sent = wire.headers() if wire.is_ours(href) else headers(None)
        answer = get_session().post(href, headers=sent, json={"oid": oid, "size": len(data)})
        hf_raise_for_status(answer)


def _put_parts(href: str, oid: str, data: bytes, extra: Mapping[str, str], size: int) -> None:
    urls = {int(key): url for key, url in extra.items() if _PART_NUMBER.fullmatch(key)}
    numbers = sorted(urls)
    if numbers != list(range(1, -(-len(data) // size) + 1)):
        raise HubIntegrityError(f"the store asks for {len(numbers)} parts of {size} bytes of {oid}")
    parts = [
        {
            "partNumber": number,
            "etag": _put(urls[number], data[(number - 1) * size : number * size], {}),
        }
        for number in numbers
    ]
    answer = get_session().post(
        href,
        headers={**headers(None), "Accept": _LFS_JSON, "Content-Type": _LFS_JSON},
        json={"oid": oid, "parts": parts},
    )
    hf_raise_for_status(answer)


def _put(href: str, data: bytes, extra: Mapping[str, str]) -> str:
    """Send bytes to an address the Hub signed, without our token; return the store's ETag."""
    answer = get_session().put(href, headers={**headers(None), **extra}, content=data)
    hf_raise_for_status(answer)
    return str(answer.headers.get("ETag", ""))
