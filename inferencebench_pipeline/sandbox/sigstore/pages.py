"""The pages about log entries, which show the content, the signer and the inclusion proof."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from cryptography import x509
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from inferencebench_pipeline.sandbox.sigstore.log import Inclusion, LogEntry, TransparencyLog
from inferencebench_pipeline.sandbox.sigstore.merkle import leaf_hash

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
}
_LATEST = 20


class CheckpointedLog(Protocol):
    """A log of either version of Rekor."""

    @property
    def log(self) -> TransparencyLog:
        """The entries."""

    def checkpoint(self, proof: Inclusion) -> str:
        """Return the checkpoint an inclusion proof leads to."""


@dataclass(frozen=True)
class Signer:
    """The signer, as the logged certificate names it."""

    identity: str
    valid_from: str
    valid_until: str


def routes(logs: Mapping[str, CheckpointedLog]) -> list[Route]:
    """Return ``/`` and ``/log/{version}/{index}``.

    Args:
        logs: the logs by the version in their pages' addresses.
    """
    environment = Environment(
        loader=PackageLoader("inferencebench_pipeline.sandbox.sigstore"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def render_entry(version: str, index: int) -> str:
        rekor = logs[version]
        entry, proof = rekor.log.entry(index), rekor.log.inclusion(index)
        return environment.get_template("entry.html").render(
            version=version,
            entry=entry,
            time=_utc(entry.time_ms),
            size=rekor.log.size,
            leaf_hash=leaf_hash(entry.leaf).hex(),
            body=json.dumps(json.loads(entry.leaf), indent=2),
            signed_sha256=_signed_sha256(json.loads(entry.leaf)["spec"]),
            signer=_signer(entry),
            proof=proof,
            checkpoint=rekor.checkpoint(proof),
        )

    def render_home() -> str:
        latest = {version: _latest(rekor.log) for version, rekor in logs.items()}
        return environment.get_template("home.html").render(logs=latest)

    async def entry(request: Request) -> HTMLResponse:
        version, index = str(request.path_params["version"]), int(request.path_params["index"])
        if version not in logs or not 0 <= index < logs[version].log.size:
            raise HTTPException(404, "no such log entry")
        return HTMLResponse(await run_in_threadpool(render_entry, version, index), headers=_HEADERS)

    async def home(_request: Request) -> HTMLResponse:
        return HTMLResponse(await run_in_threadpool(render_home), headers=_HEADERS)

    return [Route("/", home), Route("/log/{version}/{index:int}", entry)]


def _latest(log: TransparencyLog) -> list[tuple[int, str, str]]:
    """Return index, time and signer of the newest entries, newest first."""
    newest = list(log.entries(max(0, log.size - _LATEST), log.size))
    return [
        (entry.index, _utc(entry.time_ms), signer.identity if (signer := _signer(entry)) else "")
        for entry in reversed(newest)
    ]


def _signer(entry: LogEntry) -> Signer | None:
    """Return the signer, or nothing where the log holds a bare key or a certificate of nobody."""
    try:
        certificate = _certificate(json.loads(entry.leaf)["spec"])
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    return Signer(
        identity=", ".join(str(name.value) for name in names),
        valid_from=f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC",
        valid_until=f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC",
    )


def _certificate(spec: object) -> x509.Certificate:
    """Return the certificate in a logged body of any version.

    Raises:
        ValueError: there is none.
    """
    match spec:
        case {
            "hashedRekordV002": {
                "signature": {"verifier": {"x509Certificate": {"rawBytes": str(encoded)}}}
            }
        }:
            return x509.load_der_x509_certificate(base64.b64decode(encoded))
        case {"signature": {"publicKey": {"content": str(encoded)}}}:
            return x509.load_pem_x509_certificate(base64.b64decode(encoded))
        case {"signatures": [{"verifier": str(encoded)}, *_]}:
            return x509.load_pem_x509_certificate(base64.b64decode(encoded))
        case _:
            raise ValueError("the body holds no certificate")


def _signed_sha256(spec: object) -> str:
    """Return the SHA-256 of the artifact of a hashedrekord entry, in hex.

    For a DSSE envelope it is that of the payload in v1, of its encoding for signing in v2.
    """
    match spec:
        case {"hashedRekordV002": {"data": {"digest": str(encoded)}}}:
            return base64.b64decode(encoded).hex()
        case {"data": {"hash": {"value": str(value)}}} | {"payloadHash": {"value": str(value)}}:
            return value
        case _:
            return "unknown"


def _utc(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
