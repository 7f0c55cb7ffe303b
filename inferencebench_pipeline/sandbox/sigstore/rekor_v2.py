"""Rekor v2: hashedrekord 0.0.2 on a tiled log (rekor-v2-spec; C2SP tlog-tiles for reading)."""

from __future__ import annotations

import base64
from typing import Literal

import rfc8785
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.sigstore import tiles
from inferencebench_pipeline.sandbox.sigstore.checkpoint import NoteKey, signed_checkpoint
from inferencebench_pipeline.sandbox.sigstore.http import (
    Message,
    RpcError,
    parse,
    read_body,
    unbase64,
)
from inferencebench_pipeline.sandbox.sigstore.log import (
    DuplicateEntryError,
    Inclusion,
    LogEntry,
    LogStorageError,
    TransparencyLog,
)
from inferencebench_pipeline.sandbox.sigstore.signatures import (
    SignatureRefusedError,
    check_signature,
    key_of_certificate,
)

_BODY_LIMIT_BYTES = 1 << 20
_KIND, _KIND_VERSION = "hashedrekord", "0.0.2"
# A tile never changes at the width that it was asked for.
_IMMUTABLE = {"Cache-Control": "public, max-age=604800, immutable"}

Answer = dict[str, object]


class X509Certificate(Message):
    """Base64 of a DER certificate."""

    rawBytes: str  # noqa: N815  # the names on the wire


class Verifier(Message):
    """The key or certificate of the signer, and the algorithm."""

    x509Certificate: X509Certificate  # noqa: N815
    keyDetails: Literal["PKIX_ECDSA_P256_SHA_256"]  # noqa: N815


class Signature(Message):
    """The signature in base64, and the key or certificate of its signer."""

    content: str
    verifier: Verifier


class HashedRekordRequest(Message):
    """A signature over a digest, both in base64."""

    digest: str
    signature: Signature


class CreateEntryRequest(Message):
    """``POST /api/v2/log/entries``; DSSE envelopes come as the digest of their PAE."""

    hashedRekordRequestV002: HashedRekordRequest  # noqa: N815


class RekorV2:
    """A log that answers once the entry is in the tree, with the proof and no promise."""

    def __init__(self, key: NoteKey, log: TransparencyLog) -> None:
        self.log = log
        self._key = key

    def add(self, request: CreateEntryRequest) -> Answer:
        """Log an entry and return its ``TransparencyLogEntry``.

        Raises:
            RpcError: refused (400), logged before (409), or not stored (503).
        """
        body = _canonical_body(request.hashedRekordRequestV002)
        if len(body) > tiles.LONGEST_ENTRY_BYTES:
            raise RpcError(400, f"entry is longer than {tiles.LONGEST_ENTRY_BYTES} bytes")
        try:
            entry = self.log.append(body)
        except DuplicateEntryError as error:
            raise RpcError(
                409,
                "an equivalent entry already exists in the transparency log with index "
                f"{error.index}",
            ) from error
        except LogStorageError as error:
            raise RpcError(503, str(error)) from error
        return self._answer(entry)

    def latest_checkpoint(self) -> str:
        """Return the checkpoint of the tree as it is now."""
        # Read once, because an entry may come in before the root is computed.
        size = self.log.size
        return self._checkpoint(size, self.log.tree.root(size))

    def checkpoint(self, proof: Inclusion) -> str:
        """Return the checkpoint an inclusion proof leads to."""
        return self._checkpoint(proof.tree_size, proof.root)

    def _checkpoint(self, size: int, root: bytes) -> str:
        return signed_checkpoint(self._key, origin=self._key.name, size=size, root=root)

    def _answer(self, entry: LogEntry) -> Answer:
        """Return the protobuf JSON of an entry, 64-bit numbers as strings."""
        proof = self.log.inclusion(entry.index)
        return {
            "logIndex": str(entry.index),
            "logId": {"keyId": _base64(self._key.log_id)},
            "kindVersion": {"kind": _KIND, "version": _KIND_VERSION},
            "inclusionProof": {
                "logIndex": str(proof.index),
                "rootHash": _base64(proof.root),
                "treeSize": str(proof.tree_size),
                "hashes": [_base64(one) for one in proof.hashes],
                "checkpoint": {"envelope": self.checkpoint(proof)},
            },
            "canonicalizedBody": _base64(entry.leaf),
        }


def routes(rekor: RekorV2) -> list[Route]:
    """Return the log's endpoints, to be served below the log's address.

    The read API answers below ``/api/v2``, as rekor-tiles serves it, and directly below the log's
    address, as C2SP readers expect.
    """

    async def add(request: Request) -> Response:
        body = await read_body(request, RpcError, limit_bytes=_BODY_LIMIT_BYTES)
        answer = await run_in_threadpool(rekor.add, parse(CreateEntryRequest, body, RpcError))
        return JSONResponse(answer, status_code=201)

    async def checkpoint(_request: Request) -> Response:
        return PlainTextResponse(rekor.latest_checkpoint(), headers={"Cache-Control": "no-cache"})

    async def tile(request: Request) -> Response:
        path = str(request.path_params["path"])
        try:
            data = await run_in_threadpool(tiles.read, rekor.log, path)
        except tiles.NoSuchTileError as error:
            raise RpcError(404, str(error)) from error
        return Response(data, media_type="application/octet-stream", headers=_IMMUTABLE)

    reading = [
        Route(f"{prefix}{path}", endpoint)
        for prefix in ("/api/v2", "")
        for path, endpoint in (("/checkpoint", checkpoint), ("/tile/{path:path}", tile))
    ]
    return [Route("/api/v2/log/entries", add, methods=["POST"]), *reading]


def _canonical_body(request: HashedRekordRequest) -> bytes:
    """Return the leaf for a request, after checking its signature."""
    verifier = request.signature.verifier
    field = "hashedRekordRequestV002"
    digest = unbase64(request.digest, f"{field}.digest", RpcError)
    content = unbase64(request.signature.content, f"{field}.signature.content", RpcError)
    certificate = unbase64(
        verifier.x509Certificate.rawBytes, f"{field}.x509Certificate.rawBytes", RpcError
    )
    try:
        check_signature(key_of_certificate(certificate), content, digest)
    except SignatureRefusedError as error:
        raise RpcError(400, f"invalid signature: {error}") from error
    return rfc8785.dumps(
        {
            "apiVersion": _KIND_VERSION,
            "kind": _KIND,
            "spec": {
                "hashedRekordV002": {
                    "data": {"algorithm": "SHA2_256", "digest": _base64(digest)},
                    "signature": {
                        "content": _base64(content),
                        "verifier": {
                            "keyDetails": verifier.keyDetails,
                            "x509Certificate": {"rawBytes": _base64(certificate)},
                        },
                    },
                }
            },
        }
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
