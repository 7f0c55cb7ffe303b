"""A Sigstore serving over real HTTP, and the unmodified client pointed at it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
import uvicorn
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import Signer, SigningContext
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from inferencebench_pipeline.sandbox.sigstore.app import (
    create_sigstore_app,
    identity_token_file,
    write_trust_config,
)
from inferencebench_pipeline.sandbox.sigstore.names import DEFAULT_IDENTITY, ISSUER


@dataclass(frozen=True)
class Client:
    """What a user of the real client does."""

    base_url: str
    state: Path

    @property
    def trust_config(self) -> ClientTrustConfig:
        return ClientTrustConfig.from_json((self.state / "sigstore/trust_config.json").read_text())

    def token(self, **fields: str) -> str:
        answer = requests.post(f"{self.base_url}/oidc/token", data=fields, timeout=10)
        answer.raise_for_status()
        return str(answer.json()["id_token"])

    def signer(self, log_version: int | None = None, token: str | None = None) -> Signer:
        config = self.trust_config
        config.force_tlog_version = log_version
        raw = identity_token_file(self.state).read_text() if token is None else token
        with SigningContext.from_trust_config(config).signer(IdentityToken(raw)) as signer:
            return signer

    def verify(self, artifact: bytes, bundle: Bundle, identity: str = DEFAULT_IDENTITY) -> None:
        """Verify the bundle as it would be read from a file."""
        verifier = Verifier(trusted_root=self.trust_config.trusted_root)
        reread = Bundle.from_json(bundle.to_json())
        verifier.verify_artifact(artifact, reread, Identity(identity=identity, issuer=ISSUER))


@contextlib.contextmanager
def serving(state: Path) -> Iterator[Client]:
    """Serve the Sigstore in ``state`` on a free port, through its whole lifespan."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        write_trust_config(state, base_url)
        app = create_sigstore_app(state, base_url=base_url)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 30
            while not server.started:
                assert thread.is_alive() and time.monotonic() < deadline, "server did not start"
                time.sleep(0.01)
            yield Client(base_url, state)
        finally:
            server.should_exit = True
            thread.join(30)


def bundle_json(bundle: Bundle) -> dict[str, object]:
    return dict(json.loads(bundle.to_json()))
