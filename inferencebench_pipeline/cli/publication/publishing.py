"""The commands ``sign``, ``publish``, ``card`` and ``dev-key``: from a run to a public record."""

from __future__ import annotations

import difflib
import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from inferencebench_pipeline.cli.terminal import say, say_document, say_quoting_document
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.envelope import (
    MAX_ENVELOPE_BYTES,
    TRACES_FILE,
    ReadEnvelope,
    parse_envelope,
)
from inferencebench_pipeline.hub import (
    CARD_FILE,
    Hub,
    LinkPolicy,
    Repo,
    card_of_run,
    dataset_repo_id,
    known_takedowns,
    link,
    preview,
    preview_backlink,
    render_card,
    restore,
)
from inferencebench_pipeline.hub import publish as publish_run
from inferencebench_pipeline.runs import RunDirectory, RunStore
from inferencebench_pipeline.settings import Settings
from inferencebench_pipeline.trust import create_dev_key, sign_runs
from inferencebench_pipeline.untrusted import write_yaml

RunArgument = Annotated[str, typer.Argument(help="The run id, as printed by `inferencebench run`.")]
OrgOption = Annotated[
    str | None,
    typer.Option("--org", help="The Hub namespace. Default: INFERENCEBENCH_ORGANISATION."),
]


class Destination(StrEnum):
    """A place to which a record can be published."""

    HF = "hf"


def sign(
    run_ids: Annotated[list[str], typer.Argument(help="One or several run ids.")],
    org: OrgOption = None,
) -> None:
    """Sign the envelopes of runs and log the signatures; a signed run is left unchanged.

    One certificate signs all of them. The exit code is 1 when some runs were refused; the others
    are signed.
    """
    settings = _settings(org)
    deployment, store = Deployment(settings), RunStore(settings.store)
    # Asked before anything is signed, since an entry in a public log cannot be taken back.
    deployment.require_organisation()
    runs = [store.run(run_id) for run_id in run_ids]
    verify, hub = deployment.own_verifier(), deployment.hub()

    def bring_back(run: RunDirectory) -> None:
        # A published run that lost its files must not be signed again with other bytes.
        restore(hub, run, verify=verify, on_stage=say)

    refused, signed = 0, []
    for item in sign_runs(runs, deployment.signer(), verify=verify, restore=bring_back):
        if item.verdict is None:
            refused += 1
            say(f"{item.run.run_id} refused: {item.error}")
        else:
            signed.append(item.run.run_id)
            say(f"{item.run.run_id} {item.verdict.reason}")
    for run_id in signed:
        say(f"next: inferencebench publish {run_id} --to hf")
    if refused:
        raise typer.Exit(1)


def dev_key(
    path: Annotated[
        Path,
        typer.Argument(help="The file for the new key. An existing file is never overwritten."),
    ],
) -> None:
    """Make an Ed25519 key to sign with on this machine, and print the policy that accepts it."""
    pem = create_dev_key(path)
    say(f"INFERENCEBENCH_DEV_KEY={path.absolute()} signs with the key, for local work only: its")
    say("signatures are in no log and cannot be published. The policy that accepts the key:")
    rule = {"organisation": "my-laptop", "suites": ["*"], "public_key_pem": pem}
    say_document(write_yaml({"version": 1, "dev_keys": [rule]}))


def publish(
    run_id: RunArgument,
    to: Annotated[  # noqa: ARG001  (one place so far)
        Destination, typer.Option(help="The place to publish to: hf is the Hugging Face Hub.")
    ] = Destination.HF,
    org: OrgOption = None,
    update_model_card: Annotated[
        bool, typer.Option("--update-model-card", help="Also add a link to the model's card.")
    ] = False,
    open_pull_requests: Annotated[
        bool,
        typer.Option(
            "--open-pull-requests",
            help="Open a pull request when the model belongs to somebody else.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the files and the changes, and change nothing."),
    ] = False,
) -> None:
    """Publish a signed run as a dataset, after verifying it, and compare what the Hub serves."""
    deployment, run = _open(run_id, org)
    settings = Settings.from_environment()
    hub = deployment.hub()

    # Built only when it is needed, because it asks the Hub for takedowns.
    def link_policy() -> LinkPolicy:
        return LinkPolicy(
            pull_requests=open_pull_requests or settings.open_pull_requests,
            takedowns=known_takedowns(hub, settings.store, deployment.require_organisation()),
        )

    if dry_run:
        dataset = _preview_record(hub, deployment, run)
        if update_model_card:
            _preview_link(hub, run, dataset, link_policy())
        say("Dry run: nothing was changed.")
        return
    publish_run(
        hub,
        run,
        organisation=deployment.require_organisation(),
        verify=deployment.own_verifier(),
        on_stage=say,
    )
    if update_model_card:
        receipt = link(
            hub,
            run,
            settings.store,
            organisation=deployment.require_organisation(),
            pull_requests=open_pull_requests or settings.open_pull_requests,
        )
        say(f"Model card: {receipt.mode} {receipt.url or receipt.reason or ''}".rstrip())


def card(
    source: Annotated[
        str, typer.Argument(help="A run id, or an envelope file with its traces beside it.")
    ],
    org: OrgOption = None,
) -> None:
    """Print the dataset card of a run or an envelope, as it would be published."""
    if Path(source).is_file():
        say_quoting_document(_card_of_file(Path(source), Deployment(_settings(org))).decode())
        return
    deployment, run = _open(source, org)
    document = card_of_run(
        run,
        deployment.require_organisation(),
        deployment.own_verifier(),
        deployment.settings.hub_endpoint,
    )
    say_quoting_document(document.decode())


def _card_of_file(path: Path, deployment: Deployment) -> bytes:
    """Return the card of an envelope file, which names the signer only if the record verifies."""
    with path.open("rb") as file:
        data = file.read(MAX_ENVELOPE_BYTES + 1)
    read = ReadEnvelope(parse_envelope(data))
    # Traces prove something only about an envelope that names their hash.
    beside = path.with_name(TRACES_FILE)
    traces = beside.read_bytes() if read.traces and beside.is_file() else None
    verdict = (
        None if deployment.settings.policy is None else deployment.own_verifier()(data, traces)
    )
    good = verdict if verdict is not None and verdict.ok else None
    return render_card(
        read,
        dataset_repo_id(deployment.require_organisation(), read.envelope),
        signer=None if good is None else good.signer,
        log=None if good is None else good.log,
        endpoint=deployment.settings.hub_endpoint,
        latency_plot=traces is not None,
    )


def _preview_record(hub: Hub, deployment: Deployment, run: RunDirectory) -> Repo:
    """Print exactly the files that would be published, without changing anything on the Hub."""
    planned = preview(
        hub,
        run,
        organisation=deployment.require_organisation(),
        verify=deployment.own_verifier(),
    )
    say("Verifying envelope... OK")
    say(f"Would {'create' if planned.is_new else 'use'} dataset repo {planned.repo.id}")
    for name, data in planned.files.items():
        verb = "would upload" if name in planned.missing else "already there"
        digest = hashlib.sha256(data).hexdigest()
        say(f"  {name}: {len(data)} bytes, SHA-256 {digest}, {verb}")
    if CARD_FILE in planned.missing:
        _print_diff(b"", planned.files[CARD_FILE], CARD_FILE)
    return planned.repo


def _preview_link(hub: Hub, run: RunDirectory, dataset: Repo, policy: LinkPolicy) -> None:
    """Print the planned change of the model's card, without changing anything on the Hub."""
    link = preview_backlink(hub, run, dataset, policy)
    say(f"Model card of {link.model_id}: would be {link.mode} {link.reason or ''}".rstrip())
    _print_diff(link.before, link.after, f"{link.model_id}/{CARD_FILE}")


def _print_diff(before: bytes, after: bytes, name: str) -> None:
    lines = difflib.unified_diff(
        before.decode(errors="replace").splitlines(),
        after.decode(errors="replace").splitlines(),
        # A new file is shown as git shows one.
        fromfile=f"a/{name}" if before else "/dev/null",
        tofile=f"b/{name}",
        lineterm="",
    )
    for line in lines:
        say_document(f"{line}\n")


def _open(run_id: str, organisation: str | None) -> tuple[Deployment, RunDirectory]:
    settings = _settings(organisation)
    return Deployment(settings), RunStore(settings.store).run(run_id)


def _settings(organisation: str | None) -> Settings:
    settings = Settings.from_environment()
    return (
        settings
        if organisation is None
        else settings.model_copy(update={"organisation": organisation})
    )
