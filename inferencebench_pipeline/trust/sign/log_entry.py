"""The log entry of a signature: made once, or found where an interrupted attempt has left it."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any, Final

import requests
from sigstore._internal.rekor.client import RekorClient
from sigstore.models import TransparencyLogEntry
from sigstore_models.rekor.v1 import TransparencyLogEntry as EntryMessage

from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.log.tiles import entry_leaf, inclusion_hashes
from inferencebench_pipeline.trust.root.trust_root import TrustRoot
from inferencebench_pipeline.trust.sign.pending_signature import PreparedSignature
from inferencebench_pipeline.trust.sign.services import (
    SigningServices,
    response_behind,
    service_failure,
)

_CONFLICT: Final = 409
# Rekor v2 names the index in the text of its conflict.
_INDEX = re.compile(r"index (\d{1,18})\b")
# Rekor v1 names the entry: the 64 digits of its leaf, with or without the 16 of its shard before.
_UUID = re.compile(r"(?:[0-9a-f]{16})?[0-9a-f]{64}")


def log_once(
    prepared: PreparedSignature, services: SigningServices, trust: TrustRoot
) -> TransparencyLogEntry:
    """Return the log entry of ``prepared``; the log is asked to make it, if it has none.

    Both logs refuse an entry that they hold (409) and say where it is.

    Raises:
        SigningUnavailableError: the log is down, slow or gives nonsense; ask again.
        SigningRefusedError: the log said no.
    """
    request = prepared.request(services.log)
    try:
        return services.log.create_entry(request)
    except Exception as error:
        response = response_behind(error)
        # A conflict is no failure: the log holds this very entry, as after a lost response.
        if response is None or response.status_code != _CONFLICT:
            raise service_failure(services.log_name, error) from error
        try:
            return _existing(services, trust, response)
        except Exception as failure:
            raise service_failure(services.log_name, failure) from failure


def find_in_log(
    prepared: PreparedSignature, services: SigningServices
) -> TransparencyLogEntry | None:
    """Return the entry of ``prepared`` in a Rekor v1 log, or None; nothing is made.

    For a certificate that has run out: v1 signs the time at which it takes an entry in, and would
    make one that can never verify. Rekor v2 states no time, so there :func:`log_once` is right.

    Raises:
        SigningUnavailableError: the log is down, slow or gives nonsense.
    """
    assert isinstance(services.log, RekorClient)
    try:
        response = services.log._session.post(
            f"{services.log.url}/log/entries/retrieve",
            json={"entries": [prepared.request(services.log)]},
        )
        # This endpoint searches, and a search that finds nothing is no failure.
        if response.status_code == requests.codes.not_found:
            return None
        response.raise_for_status()
        found = [TransparencyLogEntry._from_v1_response(item) for item in response.json()]
    except Exception as error:
        raise service_failure(services.log_name, error) from error
    # Entries of one signature state the same; the first is the one that any retry finds.
    return min(found, key=lambda entry: entry._inner.log_index, default=None)


def is_still_loggable(prepared: PreparedSignature, services: SigningServices) -> bool:
    """Return whether an entry made now would verify: Rekor v1 takes the time, Rekor v2 does not."""
    return not services.is_rekor_v1 or prepared.covers(datetime.now(UTC))


def _existing(
    services: SigningServices, trust: TrustRoot, response: requests.Response
) -> TransparencyLogEntry:
    if isinstance(services.log, RekorClient):
        named = _UUID.search(response.headers.get("Location", "") + " " + response.text)
        if named is None:
            raise SigningRefusedError(f"{services.log_name} holds the entry but does not say where")
        return services.log.log.entries.get(uuid=named.group())
    index = _INDEX.search(response.text)
    if index is None:
        raise SigningRefusedError(f"{services.log_name} holds the entry but does not say where")
    # Rekor v2 gives no entry with its conflict, only an index.
    return _tiled(services, trust, int(index.group(1)))


def _tiled(services: SigningServices, trust: TrustRoot, index: int) -> TransparencyLogEntry:
    """Return entry ``index`` of a tiled log with its proof, put together from the tiles."""
    session: requests.Session = services.log._session  # type: ignore[attr-defined]

    def read(path: str) -> bytes:
        answer = session.get(f"{services.log_url}/{path}")
        answer.raise_for_status()
        return answer.content

    # Its signature is not looked at here: the finished bundle is verified before anybody keeps it.
    checkpoint = read("checkpoint").decode()
    _, size_line, root, *_ = checkpoint.split("\n")
    size = int(size_line)
    base = services.log_url.removesuffix("/api/v2")
    log = next(log for log in trust.logs if log.base_url.rstrip("/") == base)
    document: dict[str, Any] = {
        "logIndex": str(index),
        "logId": {"keyId": base64.b64encode(log.log_id.key_id).decode()},
        # Rekor v2 holds no other kind. A DSSE envelope is a hashedrekord there as well.
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
        "inclusionProof": {
            "logIndex": str(index),
            "rootHash": root,
            "treeSize": str(size),
            "hashes": [
                base64.b64encode(item).decode() for item in inclusion_hashes(read, index, size)
            ],
            "checkpoint": {"envelope": checkpoint},
        },
        "canonicalizedBody": base64.b64encode(entry_leaf(read, index, size)).decode(),
    }
    return TransparencyLogEntry(EntryMessage.from_dict(document))
