"""Reading logs over HTTP: what is no answer of a log is an outage, and proofs come from tiles."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.sandbox.sigstore import tiles
from inferencebench_pipeline.sandbox.sigstore.log import TransparencyLog
from inferencebench_pipeline.trust.log.checkpoints import Checkpoint, CheckpointRefusedError
from inferencebench_pipeline.trust.log.merkle import require_consistency
from inferencebench_pipeline.trust.log.reader import (
    LogUnavailableError,
    RekorV1Log,
    TiledLog,
    newest_states,
)
from tests.attacks.hostile_http import Asked, HostileServer, always, plain
from tests.trust.conftest import World
from tests.trust.records import Signed

ENTRIES = 600
_TILES = "/api/v2/tile/"


@pytest.fixture(autouse=True)
def loopback_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransparencyLog]:
    log = TransparencyLog(tmp_path_factory.mktemp("log") / "log.jsonl")
    for number in range(ENTRIES):
        log.append(body(number))
    yield log
    log.close()


def body(number: int) -> bytes:
    return f"entry {number}".encode()


def state(log: TransparencyLog, size: int) -> Checkpoint:
    root = log.tree.root(size).hex()
    return Checkpoint(log_id="ab", origin="log.example - 7", size=size, root_hash=root)


class Served:
    """A tiled log's server, which may keep some tiles to itself or cut them short."""

    def __init__(self, log: TransparencyLog, *, without: str = "no path", cut: int = 0) -> None:
        self._log, self._without, self._cut = log, without, cut

    def __call__(self, asked: Asked) -> list[bytes]:
        if self._without in asked.path:
            return [plain(b"", status="404 Not Found")]
        data = tiles.read(self._log, asked.path.removeprefix(_TILES))
        return [plain(data[: len(data) - self._cut])]


@pytest.mark.parametrize(
    "answer", ["[]", "7", "[1]", "{}", '{"signedTreeHead": "x", "inactiveShards": 3}', "nothing"]
)
def test_a_list_of_shards_that_is_none_is_an_outage(answer: str) -> None:
    with (
        HostileServer(always(plain(answer.encode()))) as server,
        pytest.raises(LogUnavailableError),
    ):
        RekorV1Log(server.url).notes()


@pytest.mark.parametrize("answer", ["{}", "7", '{"hashes": ["no hex"]}', '{"hashes": [1]}'])
def test_a_proof_that_is_none_is_an_outage(log: TransparencyLog, answer: str) -> None:
    with (
        HostileServer(always(plain(answer.encode()))) as server,
        pytest.raises(LogUnavailableError, match="consistency proof is malformed"),
    ):
        RekorV1Log(server.url).consistency(state(log, 3), state(log, 5))
    (asked,) = server.asked
    assert asked.path.endswith("?firstSize=3&lastSize=5&treeID=7")


def entry(index: object, text: str = "AAAA") -> dict[str, object]:
    return {"uuid": {"logIndex": index, "body": text}}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (7, "malformed"),
        ([7], "malformed"),
        ([{"uuid": {}}], "malformed"),
        ([entry("x")], "malformed"),
        ([entry(float("inf"))], "malformed|not JSON"),
        ([entry(4, "A"), entry(5)], "malformed"),
        ([], r"did not return the entries \[4, 5\]"),
        ([entry(4)], "did not return"),
        ([entry(4), entry(4)], "did not return"),
        ([entry(4), entry(5), entry(6)], "did not return"),
    ],
)
def test_entries_that_were_not_asked_for_or_are_left_out_are_an_outage(
    answer: object, said: str
) -> None:
    with (
        HostileServer(always(plain(json.dumps(answer).encode()))) as server,
        pytest.raises(LogUnavailableError, match=said),
    ):
        list(RekorV1Log(server.url).entries(4, 6))


@pytest.mark.parametrize("without", ["no path", "001.p/"])
@pytest.mark.parametrize(
    ("first", "second"), [(1, 2), (3, 300), (255, 257), (256, 512), (300, 513), (511, 600)]
)
def test_a_proof_comes_from_tiles_even_when_partial_ones_are_gone(
    log: TransparencyLog, first: int, second: int, without: str
) -> None:
    old, new = state(log, first), state(log, second)
    with HostileServer(Served(log, without=without)) as server:
        reader = TiledLog(server.url)
        proof = reader.consistency(old, new)
        bodies = dict(reader.entries(first, second))
    require_consistency(old.size, old.root, new.size, new.root, proof)
    assert bodies == {number: body(number) for number in range(first, second)}


def test_a_whole_tile_that_is_gone_is_an_outage(log: TransparencyLog) -> None:
    with HostileServer(Served(log, without="000")) as server:
        reader = TiledLog(server.url)
        with pytest.raises(LogUnavailableError, match="404"):
            reader.consistency(state(log, 1), state(log, 512))
        with pytest.raises(LogUnavailableError, match="404"):
            list(reader.entries(0, 256))


def test_a_tile_that_is_cut_short_is_an_outage(log: TransparencyLog) -> None:
    with HostileServer(Served(log, cut=1)) as server:
        reader = TiledLog(server.url)
        with pytest.raises(LogUnavailableError, match="tile 0/0 does not hold 256 hashes"):
            reader.consistency(state(log, 1), state(log, 512))
        with pytest.raises(LogUnavailableError, match="entry bundle is cut short"):
            list(reader.entries(0, 256))


def test_a_tile_of_a_large_log_is_asked_for_in_groups_of_three_digits() -> None:
    with HostileServer(always(plain(b"", status="404 Not Found"))) as server:
        with pytest.raises(LogUnavailableError):
            list(TiledLog(server.url).entries(1_234_067, 1_234_068))
        paths = [asked.path for asked in server.asked]
    tile = f"{_TILES}entries/x004/820"
    assert paths == [f"{tile}.p/148", tile]


def test_a_log_that_shows_two_states_of_one_shard_is_refused(
    running_world: World, signed: Signed
) -> None:
    signature = parse_envelope(signed.data).signature
    assert signature is not None
    (logged,) = json.loads(base64.b64decode(signature.bundle))["verificationMaterial"][
        "tlogEntries"
    ]
    note = logged["inclusionProof"]["checkpoint"]["envelope"]
    key_id = base64.b64decode(logged["logId"]["keyId"])
    (own,) = [each for each in running_world.trust.logs if each.log_id.key_id == key_id]
    shard = {"signedTreeHead": note}
    for inactive, twice in (([], False), ([shard], True)):
        answer = json.dumps(shard | {"inactiveShards": inactive}).encode()
        with HostileServer(always(plain(answer))) as server:
            reader = RekorV1Log(server.url)
            if twice:
                with pytest.raises(CheckpointRefusedError, match="twice"):
                    newest_states(reader, own)
            else:
                [(checkpoint, shown)] = newest_states(reader, own).values()
                assert (checkpoint.log_id, shown) == (key_id.hex(), note)
