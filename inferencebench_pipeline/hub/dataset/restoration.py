"""Bringing back from the Hub what is published and lost, or damaged, in the run directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from inferencebench_pipeline.envelope import EnvelopeError, content_hash, parse_envelope
from inferencebench_pipeline.files import StoreError, sha256_of
from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.errors import HubIntegrityError
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.dataset.receipt import Receipt, read_digest, read_receipt
from inferencebench_pipeline.hub.dataset.rendered_record import Verify
from inferencebench_pipeline.runs import MissingRunFileError, RunDirectory, RunFile, free_name

_RESTORED: Final = (RunFile.ENVELOPE, RunFile.TRACES)


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
    return verify(data, None).ok


def _differs(run: RunDirectory, name: RunFile, receipt: Receipt) -> bool:
    published = receipt.files.get(name.value)
    if published is None:
        return False
    try:
        return sha256_of(run.file(name), size_bytes=published.size_bytes) != published.sha256
    except OSError:
        return True


def _published(
    hub: Hub, run: RunDirectory, receipt: Receipt, verify: Verify
) -> dict[RunFile, bytes] | None:
    """Return the published files; None when the receipt is that of another run."""
    repo = Repo("dataset", receipt.repo_id)
    served = {
        name: read_digest(hub, repo, receipt.commit, name.value, published.sha256)
        for name in _RESTORED
        if (published := receipt.files.get(name.value)) is not None
    }
    data = served[RunFile.ENVELOPE]
    try:
        envelope = parse_envelope(data)
    except EnvelopeError as error:
        raise HubIntegrityError(
            f"{receipt.url} serves an envelope at {receipt.commit} that cannot be read: {error}"
        ) from error
    if envelope.run_id != run.run_id or content_hash(envelope) != receipt.content_hash:
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
