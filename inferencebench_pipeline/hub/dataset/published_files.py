"""The files of a published record as the Hub serves them: checked, read back, and restored.

Nothing is believed of them but what their digests and the verifier say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from inferencebench_pipeline.envelope import (
    TRACES_FILE,
    EnvelopeError,
    ReadEnvelope,
    parse_envelope,
)
from inferencebench_pipeline.files import StoreError, sha256_of
from inferencebench_pipeline.hub.client.client import READINGS, Hub
from inferencebench_pipeline.hub.client.edit import RemoteRepo
from inferencebench_pipeline.hub.client.errors import HubIntegrityError
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.dataset.card import ENVELOPE_FILE
from inferencebench_pipeline.hub.dataset.receipt import PublishedFile, Receipt, read_receipt
from inferencebench_pipeline.hub.dataset.rendered_record import RenderedRecord
from inferencebench_pipeline.runs import MissingRunFileError, RunDirectory, RunFile, free_name
from inferencebench_pipeline.trust import Verify

_RESTORED: Final = (RunFile.ENVELOPE, RunFile.TRACES)


def check_served(
    remote: RemoteRepo, record: RenderedRecord, commit: str, sent: frozenset[str], verify: Verify
) -> dict[str, PublishedFile]:
    """Return the files that the repository holds of the record at ``commit``.

    The envelope and the traces are read back and verified again. The card and its plot are compared
    by the hash that the Hub gives for them: they state nothing that the signed files do not.

    Args:
        remote: the repository on the Hub.
        record: everything that belongs there.
        commit: the commit that is to hold it.
        sent: the files that this commit brought, which may not be others.
        verify: gives the verdict on the files that are served.

    Raises:
        HubIntegrityError: a file is not there or is another, or what is served does not verify.
    """
    listed = remote.listing(commit)
    files = {}
    for name, data in record.files.items():
        there = listed.get(name)
        if there is not None and there.is_of(data):
            files[name] = _described(data)
        elif name in sent or name in record.signed:
            raise HubIntegrityError(
                f"{remote.page_url} lists another {name} at {commit} than was sent; do "
                "not announce it, and report it to the Hub"
            )
        elif there is not None:
            # The card of an earlier version stays, and the receipt describes it as it is.
            files[name] = _described(remote.fetch(commit, name))
    served = {
        name: _read_digest(remote, commit, name, files[name].sha256) for name in record.signed
    }
    verdict = verify(served[ENVELOPE_FILE], served.get(TRACES_FILE))
    if not verdict.ok:
        raise HubIntegrityError(
            f"what {remote.page_url} serves at {commit} does not verify: "
            f"{verdict.reason}; do not announce it, and report it to the Hub"
        )
    return files


def _described(data: bytes) -> PublishedFile:
    return PublishedFile(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def read_back(hub: Hub, receipt: Receipt) -> dict[str, bytes]:
    """Return the files of a receipt as the Hub serves them now at its commit.

    Raises:
        HubNotFoundError: the repository, the commit or a file is gone.
        HubIntegrityError: a file has other bytes than the receipt says.
    """
    return _read_back(hub, receipt, receipt.files)


def _read_back(hub: Hub, receipt: Receipt, files: Mapping[str, PublishedFile]) -> dict[str, bytes]:
    remote = RemoteRepo(hub, Repo("dataset", receipt.repo_id))
    return {
        name: _read_digest(remote, receipt.commit, name, file.sha256)
        for name, file in files.items()
    }


def _read_digest(remote: RemoteRepo, commit: str, name: str, sha256: str) -> bytes:
    """Return the file when one of several downloads hashes to ``sha256``."""
    found = set()

    def is_it(data: bytes) -> bool:
        # Every digest is kept for the message: equal wrong ones mean other bytes, different ones
        # damage.
        found.add(hashlib.sha256(data).hexdigest())
        return sha256 in found

    data = remote.fetch_expected(commit, name, is_it)
    if data is None:
        raise HubIntegrityError(
            f"{remote.page_url} serves {name} at {commit} with SHA-256 "
            f"{', '.join(sorted(found))}, expected {sha256}, in each of {READINGS} downloads; do "
            "not announce it, and report it to the Hub"
        )
    return data


def restore(
    hub: Hub, run: RunDirectory, *, verify: Verify, on_stage: Callable[[str], None]
) -> tuple[RunFile, ...]:
    """Bring back the published envelope and traces that are not here as they were published.

    They are read at the commit and with the digests that the receipt names, verified, and laid
    down; what lay in their place is kept beside them. The Hub is asked for nothing else, and not
    at all when nothing is amiss or there is no receipt.

    Returns the files that came back.

    Raises:
        HubIntegrityError: the Hub serves other bytes than the receipt names, or they do not verify.
        HubNotFoundError: the repository or the commit is gone.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`.
        RunBusyError: another process works on the run.
    """
    receipt = read_receipt(run)
    if receipt is None:
        return ()
    lost = _lost(run, receipt, verify)
    if not lost:
        return ()
    with run.writing("restoring from the Hub"):
        served = _published(hub, run, receipt, verify)
        if served is None:
            return ()
        for name in lost:
            _keep_aside(run, name)
            run.write(name, served[name])
            on_stage(
                f"{name.value} was lost or damaged here; restored from {receipt.url} at "
                f"{receipt.commit}"
            )
    return tuple(lost)


def _lost(run: RunDirectory, receipt: Receipt, verify: Verify) -> list[RunFile]:
    """Return what is not here as it was published.

    An envelope that a stage wrote and that verifies is another signature, not damage: it is left,
    and publishing says that the Hub holds another.
    """
    differing = [name for name in _RESTORED if _differs(run, name, receipt)]
    if RunFile.ENVELOPE in differing and _stands(run, verify):
        return []
    return differing


def _stands(run: RunDirectory, verify: Verify) -> bool:
    try:
        data = run.read_as_written(RunFile.ENVELOPE)
        parse_envelope(data)
    except (StoreError, MissingRunFileError, EnvelopeError):
        return False
    # The traces have a place of their own among what may be lost.
    return verify(data, None).signature_holds


def _differs(run: RunDirectory, name: RunFile, receipt: Receipt) -> bool:
    published = receipt.files.get(name.value)
    if published is None:
        return False
    try:
        return sha256_of(run.file(name), size_bytes=published.size_bytes) != published.sha256
    # What cannot be read is as good as lost.
    except OSError:
        return True


def _published(
    hub: Hub, run: RunDirectory, receipt: Receipt, verify: Verify
) -> dict[RunFile, bytes] | None:
    """Return the published files; None when the receipt is that of another run."""
    names = [name.value for name in _RESTORED if name.value in receipt.files]
    read = _read_back(hub, receipt, {name: receipt.files[name] for name in names})
    served = {RunFile(name): data for name, data in read.items()}
    data = served[RunFile.ENVELOPE]
    try:
        read_envelope = ReadEnvelope(parse_envelope(data))
    except EnvelopeError as error:
        raise HubIntegrityError(
            f"{receipt.url} serves an envelope at {receipt.commit} that cannot be read: {error}"
        ) from error
    if (read_envelope.envelope.run_id, read_envelope.content_hash) != (
        run.run_id,
        receipt.content_hash,
    ):
        return None
    verdict = verify(data, served.get(RunFile.TRACES))
    if not verdict.ok:
        raise HubIntegrityError(
            f"what {receipt.url} serves at {receipt.commit} does not verify: {verdict.reason}; "
            f"{run.file(RunFile.ENVELOPE)} was not restored"
        )
    return served


def _keep_aside(run: RunDirectory, name: RunFile) -> None:
    path = run.file(name)
    if path.is_file() and not path.is_symlink():
        path.rename(free_name(path, "damaged"))
