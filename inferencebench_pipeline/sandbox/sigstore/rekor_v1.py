"""Rekor v1: the log with promises, proofs and a search by hash (rekor ``openapi.yaml``)."""

from __future__ import annotations

import base64
import json
import threading
from typing import Annotated

import rfc8785
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.sigstore.checkpoint import NoteKey, signed_checkpoint
from inferencebench_pipeline.sandbox.sigstore.http import Message, RestError, parse, read_body
from inferencebench_pipeline.sandbox.sigstore.log import (
    DuplicateEntryError,
    Inclusion,
    LogEntry,
    LogStorageError,
    TransparencyLog,
)
from inferencebench_pipeline.sandbox.sigstore.merkle import leaf_hash
from inferencebench_pipeline.sandbox.sigstore.rekor_v1_entries import (
    canonical_body,
    searchable_hashes,
)

_BODY_LIMIT_BYTES = 8 << 20
# As many as the public Rekor v1 answers at once.
_SEARCH_LIMIT = 10

Answer = dict[str, object]


class SearchIndex(Message):
    """``POST /api/v1/index/retrieve``: UUIDs by artifact hash."""

    hash: Annotated[str, Field(pattern="^(sha256:)?[0-9a-f]{64}$")]


class SearchLog(Message):
    """``POST /api/v1/log/entries/retrieve``: entries by proposal, UUID or index."""

    entries: Annotated[tuple[dict[str, object], ...], Field(max_length=_SEARCH_LIMIT)] = ()
    entryUUIDs: Annotated[tuple[str, ...], Field(max_length=_SEARCH_LIMIT)] = ()  # noqa: N815
    logIndexes: Annotated[tuple[int, ...], Field(max_length=_SEARCH_LIMIT)] = ()  # noqa: N815


class RekorV1:
    """A log whose answers carry a signed promise of the time and a proof of inclusion."""

    def __init__(self, key: NoteKey, log: TransparencyLog) -> None:
        self.log = log
        self._key = key
        # Tree ids of Rekor are signed 64-bit numbers, so a positive one has 63 bits.
        self._tree_id = int.from_bytes(key.log_id[:8]) >> 1
        self._indexing = threading.Lock()
        self._by_hash: dict[str, list[int]] = {}
        for entry in log.entries(0, log.size):
            self._index(entry)

    def add(self, proposal: bytes) -> tuple[str, Answer]:
        """Log a proposed entry; return its UUID and the answer of ``POST /log/entries``.

        Raises:
            RestError: refused (400), logged before (409, with its address), or not stored (503).
        """
        body = canonical_body(proposal)
        try:
            entry = self.log.append(body)
        except DuplicateEntryError as error:
            uuid = self._uuid(body)
            raise RestError(
                409,
                "an equivalent entry already exists in the transparency log with UUID " + uuid,
                headers={"Location": f"/api/v1/log/entries/{uuid}"},
            ) from error
        except LogStorageError as error:
            raise RestError(503, str(error)) from error
        self._index(entry)
        return self._uuid(body), self._answer(entry)

    def by_index(self, index: int) -> Answer:
        """Return the entry at ``index``.

        Raises:
            RestError: 404, there is none.
        """
        try:
            return self._answer(self.log.entry(index))
        except IndexError as error:
            raise RestError(404, str(error)) from error

    def by_uuid(self, uuid: str) -> Answer:
        """Return the entry with this UUID, given with or without the tree's id before it.

        Raises:
            RestError: 400, it is no UUID; 404, there is no such entry.
        """
        prefix, digest = uuid[:-64], uuid[-64:]
        if len(digest) != 64 or prefix not in ("", f"{self._tree_id:016x}"):
            raise RestError(400, "UUID must be 64 hex digits, or 80 with this tree's id first")
        try:
            index = self.log.find(bytes.fromhex(digest))
        except ValueError as error:
            raise RestError(400, "UUID is not hex") from error
        if index is None:
            raise RestError(404, "entry not found")
        return self.by_index(index)

    def uuids_with_hash(self, sha256: str) -> list[str]:
        """Return the UUIDs of the entries about an artifact, oldest first."""
        found = self._by_hash.get(sha256.removeprefix("sha256:"), [])
        return [self._uuid(self.log.entry(index).leaf) for index in found]

    def search(self, query: SearchLog) -> list[Answer]:
        """Return the entries that exist among those asked for.

        Raises:
            RestError: 400, a proposal or a UUID is malformed.
        """
        found = [self.by_index(index) for index in query.logIndexes if 0 <= index < self.log.size]
        digests = [
            leaf_hash(canonical_body(json.dumps(proposal).encode())).hex()
            for proposal in query.entries
        ]
        for uuid in (*query.entryUUIDs, *digests):
            try:
                found.append(self.by_uuid(uuid))
            except RestError as error:
                if error.status != 404:
                    raise
        return found

    def info(self) -> Answer:
        """Return the tree's state, as ``GET /api/v1/log`` does."""
        size = self.log.size
        root = self.log.tree.root(size)
        return {
            "inactiveShards": [],
            "rootHash": root.hex(),
            "signedTreeHead": self._checkpoint(size, root),
            "treeID": str(self._tree_id),
            "treeSize": size,
        }

    def consistency(self, first: int, last: int) -> Answer:
        """Return the proof that the tree of size ``last`` extends the one of size ``first``.

        Raises:
            RestError: 400, the log never had such sizes.
        """
        try:
            hashes = self.log.tree.consistency(first, last)
            root = self.log.tree.root(last)
        except ValueError as error:
            raise RestError(400, str(error)) from error
        return {"rootHash": root.hex(), "hashes": [one.hex() for one in hashes]}

    def checkpoint(self, proof: Inclusion) -> str:
        """Return the checkpoint an inclusion proof leads to."""
        return self._checkpoint(proof.tree_size, proof.root)

    def _checkpoint(self, size: int, root: bytes) -> str:
        # The origin of a Rekor v1 checkpoint is the name of the log and the id of the shard's tree.
        origin = f"{self._key.name} - {self._tree_id}"
        return signed_checkpoint(self._key, origin=origin, size=size, root=root)

    def _uuid(self, body: bytes) -> str:
        return f"{self._tree_id:016x}{leaf_hash(body).hex()}"

    def _index(self, entry: LogEntry) -> None:
        with self._indexing:
            for value in searchable_hashes(json.loads(entry.leaf)):
                self._by_hash.setdefault(value, []).append(entry.index)

    def _answer(self, entry: LogEntry) -> Answer:
        proof = self.log.inclusion(entry.index)
        promised: dict[str, str | int] = {
            "body": base64.b64encode(entry.leaf).decode(),
            "integratedTime": entry.time_ms // 1000,
            "logID": self._key.log_id.hex(),
            "logIndex": entry.index,
        }
        # The signed entry timestamp covers just these four members, as RFC 8785 writes them.
        promise = base64.b64encode(self._key.sign(rfc8785.dumps(promised))).decode()
        inclusion = {
            "checkpoint": self.checkpoint(proof),
            "hashes": [one.hex() for one in proof.hashes],
            "logIndex": proof.index,
            "rootHash": proof.root.hex(),
            "treeSize": proof.tree_size,
        }
        verification = {"inclusionProof": inclusion, "signedEntryTimestamp": promise}
        return {self._uuid(entry.leaf): {**promised, "verification": verification}}


def routes(rekor: RekorV1, public_key_pem: bytes) -> list[Route]:
    """Return the log's endpoints, to be served below the log's address."""

    async def info(_request: Request) -> Response:
        return JSONResponse(rekor.info())

    async def consistency(request: Request) -> Response:
        first, last = _number(request, "firstSize", "1"), _number(request, "lastSize", None)
        return JSONResponse(rekor.consistency(first, last))

    async def add(request: Request) -> Response:
        body = await read_body(request, RestError, limit_bytes=_BODY_LIMIT_BYTES)
        uuid, answer = await run_in_threadpool(rekor.add, body)
        location = {"ETag": uuid, "Location": f"/api/v1/log/entries/{uuid}"}
        return JSONResponse(answer, status_code=201, headers=location)

    async def by_index(request: Request) -> Response:
        index = _number(request, "logIndex", None)
        return JSONResponse(await run_in_threadpool(rekor.by_index, index))

    async def by_uuid(request: Request) -> Response:
        uuid = str(request.path_params["uuid"])
        return JSONResponse(await run_in_threadpool(rekor.by_uuid, uuid))

    async def search(request: Request) -> Response:
        body = await read_body(request, RestError, limit_bytes=_BODY_LIMIT_BYTES)
        return JSONResponse(
            await run_in_threadpool(rekor.search, parse(SearchLog, body, RestError))
        )

    async def search_index(request: Request) -> Response:
        body = await read_body(request, RestError, limit_bytes=_BODY_LIMIT_BYTES)
        query = parse(SearchIndex, body, RestError)
        return JSONResponse(await run_in_threadpool(rekor.uuids_with_hash, query.hash))

    async def public_key(_request: Request) -> Response:
        return PlainTextResponse(public_key_pem, media_type="application/x-pem-file")

    return [
        Route("/api/v1/log", info),
        Route("/api/v1/log/publicKey", public_key),
        Route("/api/v1/log/proof", consistency),
        Route("/api/v1/log/entries", add, methods=["POST"]),
        Route("/api/v1/log/entries", by_index, methods=["GET"]),
        Route("/api/v1/log/entries/retrieve", search, methods=["POST"]),
        # sigstore-python asks with a slash at the end
        Route("/api/v1/log/entries/retrieve/", search, methods=["POST"]),
        Route("/api/v1/log/entries/{uuid}", by_uuid, methods=["GET"]),
        Route("/api/v1/index/retrieve", search_index, methods=["POST"]),
    ]


def _number(request: Request, name: str, default: str | None) -> int:
    text = request.query_params.get(name, default)
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise RestError(400, f"query parameter {name} must be a whole number")
    return int(text)
