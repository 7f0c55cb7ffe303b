from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sigstore.models import Bundle

from inferencebench_pipeline.sandbox.sigstore.app import create_sigstore_app
from inferencebench_pipeline.sandbox.sigstore.keys import KeyFileError
from inferencebench_pipeline.sandbox.sigstore.log import LogInUseError
from tests.sandbox.sigstore.serving import Client, serving

SERVE = """
import socket, sys, uvicorn
from pathlib import Path
from inferencebench_pipeline.sandbox.sigstore.app import create_sigstore_app, write_trust_config
state = Path(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
write_trust_config(state, base_url)
app = create_sigstore_app(state, base_url=base_url)
print(base_url, flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
"""


def _trusted_keys(client: Client) -> list[str]:
    root = json.loads((client.state / "sigstore/trust_config.json").read_text())["trustedRoot"]
    return [log["publicKey"]["rawBytes"] for log in (*root["tlogs"], *root["ctlogs"])]


@pytest.mark.parametrize("log_version", [1, 2])
def test_old_bundles_verify_after_a_restart_on_another_port(
    tmp_path: Path, log_version: int
) -> None:
    with serving(tmp_path) as before:
        bundle = before.signer(log_version).sign_artifact(b"first")
        old_url, old_keys = before.base_url, _trusted_keys(before)
    with serving(tmp_path) as after:
        assert after.base_url != old_url
        assert _trusted_keys(after) == old_keys
        after.verify(b"first", bundle)
        second = after.signer(log_version).sign_artifact(b"second")
        after.verify(b"second", second)
        assert second.log_entry._inner.log_index == 1


@pytest.mark.parametrize("log_version", [1, 2])
def test_what_was_acknowledged_survives_kill_9_and_a_torn_line(
    tmp_path: Path, log_version: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    acknowledged: dict[bytes, Bundle] = {}
    try:
        assert child.stdout is not None
        client = Client(child.stdout.readline().strip(), tmp_path)
        signer = client.signer(log_version, client.token())
        for number in range(5):
            artifact = f"artifact {number}".encode()
            acknowledged[artifact] = signer.sign_artifact(artifact)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    log_file = tmp_path / f"sigstore/logs/rekor-v{log_version}.jsonl"
    with log_file.open("ab") as log:
        log.write(b'{"leaf":"dG9ybg')
    with serving(tmp_path) as restarted:
        for artifact, bundle in acknowledged.items():
            restarted.verify(artifact, bundle)
        sixth = restarted.signer(log_version).sign_artifact(b"sixth")
        restarted.verify(b"sixth", sixth)
        assert sixth.log_entry._inner.inclusion_proof.tree_size == 6


def test_two_servers_do_not_share_one_state(client: Client) -> None:
    with pytest.raises(LogInUseError, match="state folder of its own"):
        create_sigstore_app(client.state, base_url="http://127.0.0.1:1")


def test_a_failed_start_releases_the_logs_it_opened(tmp_path: Path) -> None:
    with serving(tmp_path):
        pass
    logs = tmp_path / "sigstore/logs"
    good = (logs / "rekor-v2.jsonl").read_bytes()
    (logs / "rekor-v2.jsonl").write_bytes(b"garbage\n")
    with pytest.raises(Exception, match="line 1"):
        create_sigstore_app(tmp_path, base_url="http://127.0.0.1:1")
    (logs / "rekor-v2.jsonl").write_bytes(good)
    with serving(tmp_path) as client:
        client.verify(b"x", client.signer().sign_artifact(b"x"))


def test_every_private_file_is_for_its_owner_only(client: Client) -> None:
    folder = client.state / "sigstore"
    private = [
        *(folder / "keys").iterdir(),
        *(folder / "logs").iterdir(),
        folder / "identity-token",
    ]
    assert len(private) == 12
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert (folder / "keys").stat().st_mode & 0o777 == 0o700


def test_a_damaged_key_is_named_without_its_content(tmp_path: Path) -> None:
    with serving(tmp_path):
        pass
    key = tmp_path / "sigstore/keys/rekor-v1.pem"
    text = key.read_text()
    key.write_text(text.replace("A", "!"))
    with pytest.raises(KeyFileError, match="incomplete or damaged") as refused:
        create_sigstore_app(tmp_path, base_url="http://127.0.0.1:1")
    assert text.splitlines()[1][:20] not in str(refused.value)
    key.unlink()
    with pytest.raises(KeyFileError):
        create_sigstore_app(tmp_path, base_url="http://127.0.0.1:1")


def test_a_bundle_of_another_sandbox_does_not_verify(tmp_path: Path, client: Client) -> None:
    with serving(tmp_path / "other") as other:
        bundle = other.signer().sign_artifact(b"x")
    with pytest.raises(Exception, match=r"certificate|timestamp|time"):
        client.verify(b"x", bundle)


def test_no_address_of_an_old_port_is_left_in_the_trust_config(tmp_path: Path) -> None:
    with serving(tmp_path) as before:
        old_url = before.base_url
    with serving(tmp_path):
        assert old_url not in (tmp_path / "sigstore/trust_config.json").read_text()
