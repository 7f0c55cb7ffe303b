"""Publication of a run: verified first, one atomic commit, read back from the Hub, verified again.

Every attempt asks the Hub itself for the state of the repository and remembers nothing. So a crash,
a lost response and a second publisher all end in the same repository with one commit of ours, and
files that are there already are never overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.edit import Edit, RemoteRepo, just_written
from inferencebench_pipeline.hub.client.errors import HubConflictError
from inferencebench_pipeline.hub.client.repo import Repo, RepoHead
from inferencebench_pipeline.hub.dataset.card import CARD_FILE, ENVELOPE_FILE
from inferencebench_pipeline.hub.dataset.published_files import check_served, restore
from inferencebench_pipeline.hub.dataset.receipt import PublishedFile, Receipt, read_receipt
from inferencebench_pipeline.hub.dataset.rendered_record import RenderedRecord, prepare
from inferencebench_pipeline.runs import SHORT_WORK_S, RunDirectory, RunFile
from inferencebench_pipeline.trust import Verify

# The Hub puts this file into every new repository, so it is nobody's content.
_MADE_BY_THE_HUB = frozenset({".gitattributes"})


def publish(
    hub: Hub,
    run: RunDirectory,
    *,
    organisation: str,
    verify: Verify,
    on_stage: Callable[[str], None],
) -> Receipt:
    """Publish a run's signed envelope, traces and card; write and return its receipt.

    Publishing again changes nothing on the Hub and returns the same receipt. A card or a plot that
    is there already stays as it is, also when today's template would render another: only the
    signed files are the record. An envelope or traces that are published and lost or damaged here
    come back from the Hub first.

    Args:
        hub: where to.
        run: directory with ``envelope.json`` and, if the envelope binds them, ``traces.parquet``.
        organisation: Hub namespace to publish under.
        verify: gives the verdict that decides, before sending and on what is served afterwards.
        on_stage: called with one line per finished stage, for the log.

    Raises:
        NotPublishableError: the record does not verify, or is flagged as invalid.
        RunBusyError: another process works on the run.
        HubConflictError: the repository holds something else, which is left alone.
        HubIntegrityError: the Hub serves other bytes than were sent.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`.
    """
    with run.writing("publishing", wait_s=SHORT_WORK_S):
        restore(hub, run, verify=verify, on_stage=on_stage)
        return _publish(hub, run, organisation, verify, on_stage)


def _publish(
    hub: Hub,
    run: RunDirectory,
    organisation: str,
    verify: Verify,
    on_stage: Callable[[str], None],
) -> Receipt:
    record = prepare(run, organisation, verify, hub.endpoint)
    on_stage("Verifying envelope... OK")
    remote = RemoteRepo(hub, record.repo)
    edit = _place(remote, record, on_stage)
    for name in (*record.signed, CARD_FILE):
        verb = "Rendering" if name == CARD_FILE else "Uploading"
        on_stage(f"{verb} {name}... {'done' if name in edit.changes else 'already there'}")
    with just_written(f"commit {edit.commit} of {record.repo.id}"):
        files = check_served(remote, record, edit.commit, frozenset(edit.changes), verify)
    receipt = _receipt(hub, run, record, edit.commit, files)
    run.write(RunFile.PUBLICATION, receipt.model_dump_json(indent=2).encode() + b"\n")
    on_stage(f"Published: {receipt.url}")
    return receipt


@dataclass(frozen=True)
class Preview:
    """The repository as publishing would leave it; nothing was sent."""

    repo: Repo
    is_new: bool
    files: Mapping[str, bytes]
    """Every file of the repository, as it would be sent."""
    missing: frozenset[str]
    """Names of the files that are not there yet."""


def preview(hub: Hub, run: RunDirectory, *, organisation: str, verify: Verify) -> Preview:
    """Return what :func:`publish` would send; the Hub is only read.

    Raises:
        NotPublishableError: the record does not verify; the Hub was not contacted.
        HubConflictError: the repository holds something else.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`.
    """
    record = prepare(run, organisation, verify, hub.endpoint)
    remote = RemoteRepo(hub, record.repo)
    head = remote.head_or_none()
    missing = record.files if head is None else _missing(remote, record, head)
    return Preview(record.repo, head is None, record.files, frozenset(missing))


def _place(remote: RemoteRepo, record: RenderedRecord, on_stage: Callable[[str], None]) -> Edit:
    """Bring about that the repository holds the record, whatever state it is found in.

    Returns the commit that holds it, and the files that this attempt brought there.
    """
    head = remote.head_or_created()
    state = "" if head.commit is None else " already there"
    on_stage(f"Creating dataset repo... {remote.repo.id}{state}")

    def changes(head: RepoHead) -> dict[str, bytes]:
        missing = _missing(remote, record, head)
        # Asked only when something is to be sent: a record that is published needs no write access.
        if missing:
            remote.hub.account().require_creating_in(remote.repo.namespace)
        return missing

    message = f"Publish record {record.content_hash}"
    return remote.commit(head, changes, message=message)


def _missing(remote: RemoteRepo, record: RenderedRecord, head: RepoHead) -> dict[str, bytes]:
    """Return the files to add: all, none, or the rest of somebody's half upload of this record.

    Raises:
        HubConflictError: the repository holds anything else.
    """
    present = head.files - _MADE_BY_THE_HUB
    if not present or head.commit is None:
        return record.files
    for name in record.signed:
        is_ours = record.signed[name].__eq__
        if name in present and (remote.fetch_expected(head.commit, name, is_ours) is None):
            raise HubConflictError(
                f"{remote.page_url} already holds a different {name} (expected: that of "
                f"content hash {record.content_hash}); a published record is never overwritten. If "
                "the run was signed again, restore the envelope.json that is published; if the "
                "repository is a stranger's, publish under another organisation"
            )
    if ENVELOPE_FILE not in present:
        raise HubConflictError(
            f"{remote.page_url} exists and holds other files ({_listed(present)}); "
            "nothing was added. Rename or remove that repository, then publish again"
        )
    # Half an upload of this very record is completed; a plot that is missing is not worth a commit.
    required = {*record.signed, CARD_FILE}
    return {name: record.files[name] for name in sorted(required - present)}


def _receipt(
    hub: Hub,
    run: RunDirectory,
    record: RenderedRecord,
    commit: str,
    files: Mapping[str, PublishedFile],
) -> Receipt:
    previous = read_receipt(run)
    published_at = datetime.now(UTC).replace(microsecond=0)
    # Publishing again must give the same receipt, so the time of the first stays.
    if previous is not None and (previous.repo_id, previous.commit) == (record.repo.id, commit):
        published_at = previous.published_at
    return Receipt(
        repo_id=record.repo.id,
        url=hub.page_url(record.repo),
        commit=commit,
        files=dict(files),
        content_hash=record.content_hash,
        published_at=published_at,
    )


def _listed(names: frozenset[str] | set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
