"""Every service of the sandbox's Sigstore on one port."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from inferencebench_pipeline.sandbox.sigstore import (
    fulcio,
    oidc,
    pages,
    rekor_v1,
    rekor_v2,
    tsa,
)
from inferencebench_pipeline.sandbox.sigstore.checkpoint import (
    rekor_v1_note_key,
    rekor_v2_note_key,
)
from inferencebench_pipeline.sandbox.sigstore.ct import CertificateLog
from inferencebench_pipeline.sandbox.sigstore.http import ServiceError, answer_service_error
from inferencebench_pipeline.sandbox.sigstore.keys import load_or_create_keys
from inferencebench_pipeline.sandbox.sigstore.log import TransparencyLog
from inferencebench_pipeline.sandbox.sigstore.names import (
    REKOR_V1_ORIGIN,
    REKOR_V2_ORIGIN,
    TSA_ORIGIN,
    Addresses,
)
from inferencebench_pipeline.sandbox.sigstore.trust_config import (
    keys_folder,
    sigstore_folder,
    write_policy,
    write_trust_config,
)

__all__ = ["create_sigstore_app", "identity_token_file", "write_policy", "write_trust_config"]


def identity_token_file(state: Path) -> Path:
    """Return the path of the file with a fresh token of the default identity."""
    return sigstore_folder(state) / "identity-token"


def create_sigstore_app(state: Path, *, base_url: str) -> Starlette:
    """Return the app that serves the Sigstore kept in ``state`` at ``base_url``.

    Keys and logs are made when ``state`` has none. Until its lifespan ends the app holds the log
    files; while it lasts, :func:`identity_token_file` is there and fresh.

    Raises:
        KeyFileError: the keys of this sandbox are damaged.
        LogInUseError: another process serves from ``state``.
        LogCorruptError: a log file was edited or lost data.
    """
    keys = load_or_create_keys(keys_folder(state))
    addresses = Addresses(base_url)
    with contextlib.ExitStack() as opened:
        ct_log, v1_log, v2_log = (
            _open_log(state, name, opened) for name in ("ct", "rekor-v1", "rekor-v2")
        )
        # Until here a failure closes what is open. From here on the lifespan does.
        logs = opened.pop_all()
    issuer = oidc.OidcIssuer(keys.oidc)
    authority = fulcio.CertificateAuthority(keys.fulcio, issuer, CertificateLog(keys.ct, ct_log))
    v1 = rekor_v1.RekorV1(rekor_v1_note_key(REKOR_V1_ORIGIN, keys.rekor_v1), v1_log)
    v2 = rekor_v2.RekorV2(rekor_v2_note_key(REKOR_V2_ORIGIN, keys.rekor_v2), v2_log)
    v1_key_pem = keys.rekor_v1.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        with logs:
            async with oidc.fresh_token_file(issuer, identity_token_file(state)):
                yield

    return Starlette(
        routes=[
            *fulcio.routes(authority),
            *pages.routes({"v1": v1, "v2": v2}),
            Route("/healthz", _healthy),
            Mount("/oidc", routes=oidc.routes(issuer, addresses)),
            Mount(f"/{REKOR_V1_ORIGIN}", routes=rekor_v1.routes(v1, v1_key_pem)),
            Mount(f"/{REKOR_V2_ORIGIN}", routes=rekor_v2.routes(v2)),
            Mount(f"/{TSA_ORIGIN}", routes=tsa.routes(tsa.TimestampAuthority(keys.tsa))),
        ],
        exception_handlers={ServiceError: answer_service_error},
        lifespan=lifespan,
    )


def _open_log(state: Path, name: str, opened: contextlib.ExitStack) -> TransparencyLog:
    log = TransparencyLog(sigstore_folder(state) / "logs" / f"{name}.jsonl")
    opened.callback(log.close)
    return log


async def _healthy(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "SERVING"})
