"""Large files: the LFS batch request, uploads in one piece or in parts, and their verification."""

from __future__ import annotations

import hashlib
import hmac
import re
import shutil
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.files import replaced_atomically
from inferencebench_pipeline.sandbox.hub.context import (
    REPO_WEB,
    Hub,
    hub_of,
    json_body,
    number_field,
    objects_field,
    visible_repository,
    writer_of,
)
from inferencebench_pipeline.sandbox.hub.errors import HubError

PART_SIZE_BYTES = 4 * 1024 * 1024
MULTIPART_ABOVE_BYTES = 8 * 1024 * 1024
"""Larger objects go up in parts, when the client offers the multipart transfer."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LFS_MEDIA_TYPE = "application/vnd.git-lfs+json"


async def batch(request: Request) -> Response:
    """Answer where to upload each object; no ``actions`` when it is stored already."""
    writer_of(request)
    visible_repository(request)
    hub = hub_of(request)
    body = await json_body(request)
    if body.get("operation") != "upload":
        raise HubError(400, "Only the LFS operation 'upload' is served; download with /resolve/")
    multipart = "multipart" in body.get("transfers", [])
    objects = []
    for wanted in objects_field(body, "objects"):
        oid, size_bytes = _checked(str(wanted.get("oid"))), number_field(wanted, "size")
        answer: dict[str, object] = {"oid": oid, "size": size_bytes}
        if not hub.store.lfs.has(oid, size_bytes):
            in_parts = multipart and size_bytes > MULTIPART_ABOVE_BYTES
            answer["actions"] = _actions(hub, oid, size_bytes, in_parts=in_parts)
        objects.append(answer)
    transfer = "multipart" if multipart else "basic"
    return JSONResponse({"transfer": transfer, "objects": objects}, media_type=_LFS_MEDIA_TYPE)


async def put_object(request: Request) -> Response:
    """Take a whole object; refused when its bytes do not have the promised hash."""
    hub, oid = _authorised(request)
    scratch = hub.store.scratch_file()
    digest = await _receive(request, scratch)
    await run_in_threadpool(_keep, scratch, digest, oid, hub.store.lfs.path(oid))
    return Response(headers={"ETag": f'"{oid}"'})


async def put_part(request: Request) -> Response:
    """Take one part of an object."""
    hub, oid = _authorised(request)
    scratch = hub.store.scratch_file()
    digest = await _receive(request, scratch)
    target = hub.store.lfs.part_path(oid, request.path_params["number"])
    target.parent.mkdir(parents=True, exist_ok=True)
    # Received aside, so that a part that was cut off is never taken for one.
    scratch.replace(target)
    return Response(headers={"ETag": f'"{digest}"'})


async def complete(request: Request) -> Response:
    """Join the uploaded parts; refused when the result does not have the promised hash."""
    hub, oid = _authorised(request)
    wanted = len(objects_field(await json_body(request), "parts"))
    parts = hub.store.lfs.parts(oid)
    if len(parts) != wanted:
        raise HubError(400, f"{wanted} parts announced, {len(parts)} uploaded")
    await run_in_threadpool(_join, parts, hub.store.scratch_file(), oid, hub.store.lfs.path(oid))
    return JSONResponse({}, media_type=_LFS_MEDIA_TYPE)


async def verify(request: Request) -> Response:
    """Confirm that an object is stored with the size the client sent."""
    writer_of(request)
    hub, oid = hub_of(request), _checked(request.path_params["oid"])
    size_bytes = number_field(await json_body(request), "size")
    if not hub.store.lfs.has(oid, size_bytes):
        raise HubError(404, f"Object {oid} of {size_bytes} bytes was not uploaded")
    return JSONResponse({})


def _actions(hub: Hub, oid: str, size_bytes: int, *, in_parts: bool) -> dict[str, object]:
    verify_url = hub.url(f"/_lfs/{oid}/verify")
    signature = _signature(hub, oid)
    if not in_parts:
        return {
            "upload": {"href": hub.url(f"/_lfs/{oid}?sig={signature}")},
            "verify": {"href": verify_url},
        }
    count = -(-size_bytes // PART_SIZE_BYTES)
    header = {"chunk_size": str(PART_SIZE_BYTES)} | {
        # The client takes the keys that are numbers for parts, written 00001 and so on.
        f"{number:05d}": hub.url(f"/_lfs/{oid}/part/{number}?sig={signature}")
        for number in range(1, count + 1)
    }
    upload = {"href": hub.url(f"/_lfs/{oid}/complete?sig={signature}"), "header": header}
    return {"upload": upload, "verify": {"href": verify_url}}


def _signature(hub: Hub, oid: str) -> str:
    return hmac.new(hub.upload_key, oid.encode(), hashlib.sha256).hexdigest()


def _authorised(request: Request) -> tuple[Hub, str]:
    """Uploads carry no token, as with S3: the signed URL is the permission."""
    hub, oid = hub_of(request), _checked(request.path_params["oid"])
    if not hmac.compare_digest(_signature(hub, oid), request.query_params.get("sig", "")):
        raise HubError(403, "The upload URL is not signed by this server; ask for a new one")
    return hub, oid


def _checked(oid: str) -> str:
    if not _SHA256.fullmatch(oid):
        raise HubError(400, f"{oid!r} is not a lower-case hex SHA-256")
    return oid


async def _receive(request: Request, scratch: Path) -> str:
    digest = hashlib.sha256()
    with scratch.open("wb") as handle:
        async for chunk in request.stream():
            digest.update(chunk)
            handle.write(chunk)
    return digest.hexdigest()


def _keep(scratch: Path, digest: str, oid: str, target: Path) -> None:
    if digest != oid:
        scratch.unlink()
        raise HubError(400, f"Uploaded bytes have SHA-256 {digest}, announced was {oid}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(target) as temporary:
        scratch.replace(temporary)


def _join(parts: list[Path], scratch: Path, oid: str, target: Path) -> None:
    with scratch.open("wb") as joined:
        for part in parts:
            with part.open("rb") as handle:
                shutil.copyfileobj(handle, joined)
    with scratch.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    # Gone whether or not the digest is right: a client that is refused begins anew.
    shutil.rmtree(parts[0].parent, ignore_errors=True)
    _keep(scratch, digest, oid, target)


routes = [
    Route(f"{REPO_WEB}.git/info/lfs/objects/batch", batch, methods=["POST"]),
    Route("/_lfs/{oid}", put_object, methods=["PUT"]),
    Route("/_lfs/{oid}/part/{number:int}", put_part, methods=["PUT"]),
    Route("/_lfs/{oid}/complete", complete, methods=["POST"]),
    Route("/_lfs/{oid}/verify", verify, methods=["POST"]),
]
