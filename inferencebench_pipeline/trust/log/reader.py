"""Reading a transparency log over HTTP: its newest state, proofs that it only grew, its entries.

Rekor v1 answers questions (``openapi.yaml`` of sigstore/rekor); Rekor v2 serves tiles (C2SP
tlog-tiles, rekor-tiles). Nothing that a log answers is believed here: checkpoints are verified
with the trusted key, and proofs against checkpoints, by the caller of each.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, Protocol

import orjson
import requests
import urllib3
from sigstore_models.trustroot.v1 import TransparencyLogInstance

from inferencebench_pipeline.errors import RetryableError
from inferencebench_pipeline.trust.log.checkpoints import (
    Checkpoint,
    CheckpointRefusedError,
    verified_checkpoint,
)
from inferencebench_pipeline.trust.log.merkle import consistency_proof, node_hash
from inferencebench_pipeline.untrusted import (
    DeadlineAdapter,
    JsonDocumentError,
    parse_json,
    printable,
    within,
)

# C2SP tlog-tiles: a tile holds eight levels of the tree, so it is 256 hashes wide.
TILE_WIDTH: Final = 256
_CONNECT_S, _READ_S, _WHOLE_S = 5.0, 20.0, 60.0
# The largest answer is a full bundle of a tiled log: 256 entries of up to 64 KiB are 16 MiB.
_MAX_ANSWER_BYTES: Final = 32 << 20
_V1_BATCH = 10
"""So many entries does Rekor v1 return at once."""
_TILES_REMEMBERED = 4096
_JSON = {"Content-Type": "application/json"}


class LogUnavailableError(RetryableError):
    """The log does not answer, or not with what a log answers."""


class LogReader(Protocol):
    """One log, as anybody can read it."""

    @property
    def entries_at_once(self) -> int:
        """Number of entries that one request brings."""

    @property
    def requests_per_proof(self) -> int:
        """Number of requests that a consistency proof costs, apart from remembered tiles."""

    def notes(self) -> list[str]:
        """Return the signed notes of the log's newest state, one for each of its shards."""

    def consistency(self, first: Checkpoint, second: Checkpoint) -> list[bytes]:
        """Return a proof that ``second`` extends ``first``, to be verified."""

    def entries(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield each entry's index and canonical body."""


def reader_of(log: TransparencyLogInstance) -> LogReader:
    """Return a reader of ``log``.

    Rekor v2 logs sign with Ed25519, Rekor v1 with ECDSA; a trust root states nothing else that
    tells them apart.
    """
    is_tiled = "ED25519" in str(log.public_key.key_details.value)
    return TiledLog(log.base_url) if is_tiled else RekorV1Log(log.base_url)


class _Http:
    """GET and POST with deadlines and bounded answers."""

    def __init__(self, base_url: str) -> None:
        self._base = base_url.rstrip("/")
        self._session = requests.Session()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, DeadlineAdapter())

    def get(self, path: str) -> bytes:
        return self._ask("GET", path)

    def json(self, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        data = (
            self._ask("GET", path) if body is None else self._ask("POST", path, orjson.dumps(body))
        )
        what = f"the answer of {self._base}{path}"
        try:
            return parse_json(data, what=what, max_bytes=_MAX_ANSWER_BYTES)
        except JsonDocumentError as error:
            raise LogUnavailableError(f"{error}; try again later") from error

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        url, ends_at, data = f"{self._base}{path}", time.monotonic() + _WHOLE_S, bytearray()
        try:
            with (
                within(_WHOLE_S),
                self._session.request(
                    method,
                    url,
                    data=body,
                    headers=_JSON,
                    timeout=(_CONNECT_S, _READ_S),
                    stream=True,
                    # The address is the trust root's, and a redirect would lead to another one.
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.is_redirect:
                    raise LogUnavailableError(f"{url} redirects, which is not followed")
                answer.raise_for_status()
                # read1 returns what has arrived, so that a drip is seen to drip.
                while chunk := answer.raw.read1(1 << 16, decode_content=True):
                    data += chunk
                    if len(data) > _MAX_ANSWER_BYTES or time.monotonic() > ends_at:
                        raise LogUnavailableError(f"{url} answers without end")
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise LogUnavailableError(
                f"the log does not answer {method} {url}: {printable(error)}; try again later"
            ) from error
        return bytes(data)


class RekorV1Log:
    """A Rekor v1 log: one request for each proof, ten entries at once."""

    def __init__(self, base_url: str) -> None:
        self._http = _Http(base_url)

    @property
    def entries_at_once(self) -> int:
        """Number of entries that one request brings."""
        return _V1_BATCH

    @property
    def requests_per_proof(self) -> int:
        """Each proof is asked for."""
        return 1

    def notes(self) -> list[str]:
        """Return the tree heads of the active shard and of the inactive ones."""
        answer = self._http.json("/api/v1/log")
        try:
            shards = [answer, *(answer.get("inactiveShards") or [])]
            return [str(shard["signedTreeHead"]) for shard in shards]
        except (KeyError, TypeError, AttributeError) as error:
            raise LogUnavailableError("the log's list of shards is malformed") from error

    def consistency(self, first: Checkpoint, second: Checkpoint) -> list[bytes]:
        """Ask for the proof; the origin of a Rekor v1 checkpoint ends in the shard's tree id."""
        tree = first.origin.rpartition(" - ")[2]
        query = f"firstSize={first.size}&lastSize={second.size}&treeID={tree}"
        answer = self._http.json(f"/api/v1/log/proof?{query}")
        try:
            return [bytes.fromhex(item) for item in answer["hashes"]]
        except (KeyError, TypeError, ValueError) as error:
            raise LogUnavailableError("the log's consistency proof is malformed") from error

    def entries(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield entries by their index over all shards."""
        for at in range(start, stop, _V1_BATCH):
            asked = list(range(at, min(at + _V1_BATCH, stop)))
            answer = self._http.json("/api/v1/log/entries/retrieve", {"logIndexes": asked})
            found: dict[int, bytes] = {}
            try:
                for item in answer:
                    for entry in item.values():
                        found[int(entry["logIndex"])] = base64.b64decode(entry["body"])
            except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
                raise LogUnavailableError("the log's entries are malformed") from error
            # An entry that is left out could be the very one by which an identity was misused.
            if sorted(found) != asked:
                raise LogUnavailableError(f"the log did not return the entries {asked}")
            yield from sorted(found.items())


class TiledLog:
    """A Rekor v2 log: proofs and entries are put together from immutable tiles."""

    def __init__(self, base_url: str) -> None:
        self._http = _Http(base_url)
        self._tile = lru_cache(_TILES_REMEMBERED)(self._fetched_tile)

    @property
    def entries_at_once(self) -> int:
        """Number of entries that one request brings."""
        return TILE_WIDTH

    @property
    def requests_per_proof(self) -> int:
        """Proofs share their tiles."""
        return 0

    def notes(self) -> list[str]:
        """Return the log's checkpoint."""
        return [self._http.get("/api/v2/checkpoint").decode("utf-8", "replace")]

    def consistency(self, first: Checkpoint, second: Checkpoint) -> list[bytes]:
        """Put the proof together from the tiles of the tree that ``second`` is the state of."""

        def node(level: int, index: int) -> bytes:
            # Only every eighth level is served. A node between two of them is computed from the
            # lower one.
            tile_level, above = divmod(level, 8)
            start, count = index << above, 1 << above
            tile, offset = divmod(start, TILE_WIDTH)
            hashes = self._hashes(tile_level, tile, second.size)[offset : offset + count]
            while len(hashes) > 1:
                pairs = zip(hashes[::2], hashes[1::2], strict=True)
                hashes = [node_hash(left, right) for left, right in pairs]
            return hashes[0]

        return consistency_proof(first.size, second.size, node)

    def entries(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield entries; ``stop`` must not be beyond a size that the log has signed."""
        for tile in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
            first = tile * TILE_WIDTH
            width = min(TILE_WIDTH, stop - first)
            data = self._resource("entries/", tile, width)
            for index, body in enumerate(_bundled(data, width), first):
                if start <= index < stop:
                    yield index, body

    def _hashes(self, level: int, tile: int, size: int) -> list[bytes]:
        # The width belongs to the key of the cache: a partial tile grows, but never changes at one
        # width.
        width = min(TILE_WIDTH, (size >> (8 * level)) - tile * TILE_WIDTH)
        return self._tile(level, tile, width)

    def _fetched_tile(self, level: int, tile: int, width: int) -> list[bytes]:
        data = self._resource(f"{level}/", tile, width)
        if len(data) < 32 * width:
            raise LogUnavailableError(f"tile {level}/{tile} does not hold {width} hashes")
        return [data[at : at + 32] for at in range(0, 32 * width, 32)]

    def _resource(self, kind: str, tile: int, width: int) -> bytes:
        """Return a tile; a partial one may be gone once the log has filled it (C2SP tlog-tiles)."""
        try:
            return self._http.get(f"/api/v2/tile/{kind}{_tile_path(tile, width)}")
        except LogUnavailableError:
            if width == TILE_WIDTH:
                raise
            return self._http.get(f"/api/v2/tile/{kind}{_tile_path(tile, TILE_WIDTH)}")


def _tile_path(index: int, width: int) -> str:
    """Return the path of a tile: three digits each, ``x`` before all but the last groups."""
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03d}")
    return "/".join(groups) + (f".p/{width}" if width < TILE_WIDTH else "")


def _bundled(data: bytes, count: int) -> Iterator[bytes]:
    at = 0
    for _ in range(count):
        # C2SP tlog-tiles: each entry of a bundle stands behind its length in two bytes, big-endian.
        length = int.from_bytes(data[at : at + 2])
        body = data[at + 2 : at + 2 + length]
        if at + 2 > len(data) or len(body) != length:
            raise LogUnavailableError("the log's entry bundle is cut short")
        yield body
        at += 2 + length


def newest_states(
    reader: LogReader, log: TransparencyLogInstance
) -> dict[str, tuple[Checkpoint, str]]:
    """Return each shard's newest checkpoint, verified, with its note, by origin.

    Raises:
        LogUnavailableError: the log does not answer.
        CheckpointRefusedError: the trusted key did not sign what it shows.
    """
    found: dict[str, tuple[Checkpoint, str]] = {}
    for note in reader.notes():
        checkpoint = verified_checkpoint(note, log)
        # Of two states of one shard the caller would trust whichever came last.
        if checkpoint.origin in found:
            raise CheckpointRefusedError(f"log {log.base_url} shows {checkpoint.origin} twice")
        found[checkpoint.origin] = (checkpoint, note)
    return found
