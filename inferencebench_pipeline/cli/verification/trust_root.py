"""The commands ``trust show``, ``trust refresh`` and ``trust pin``: the user's own trust root."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from inferencebench_pipeline.cli.terminal import say, say_json
from inferencebench_pipeline.cli.verification.verifying import TrustOption, deployment_with
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import read_plain
from inferencebench_pipeline.trust import (
    MAX_TRUST_BYTES,
    Refreshed,
    TrustedKey,
    TrustSource,
    trust_source,
    trusted_keys,
)

_DIGEST: Final = re.compile("[0-9a-f]{64}")

app = typer.Typer(
    help=(
        "Show, refresh or pin the trust root: the authorities and logs that count (docs/trust.md)."
    ),
    no_args_is_help=True,
)


class PinTargetError(PermanentError):
    """The argument is neither a digest nor a file that can be read."""


@app.command()
def show(
    trust_config: TrustOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show which trust root counts, how old it is, where it lies, and every key in it."""
    root = deployment_with(None, trust_config).trust()
    source, keys = trust_source(root), trusted_keys(root)
    if as_json:
        say_json(
            json.dumps(
                {
                    "trust_root": source.model_dump(mode="json"),
                    "keys": [key.model_dump(mode="json") for key in keys],
                },
                indent=2,
            )
        )
    else:
        _say_source(source)
        for key in keys:
            _say_key(key)
    _warn(source)


@app.command()
def refresh() -> None:
    """Renew your trust root from Sigstore's public-good instance, through TUF; say what changed.

    Older metadata than was seen before is refused, and then nothing changes.
    """
    deployment = deployment_with(None, None)
    _say_change(deployment, deployment.kept_roots().refresh())


@app.command()
def pin(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE|SHA256",
            help="A ClientTrustConfig, or the digest of a version that is kept or shipped.",
        ),
    ],
) -> None:
    """Make a file, or an earlier version, your trust root, and say what changed.

    Whoever made the file decides whose records you accept: compare its digest with one that its
    operator has told you.
    """
    deployment = deployment_with(None, None)
    kept = deployment.kept_roots()
    if _DIGEST.fullmatch(target):
        _say_change(deployment, kept.pin_digest(target))
        return
    try:
        data = read_plain(Path(target), max_bytes=MAX_TRUST_BYTES)
    except OSError as error:
        raise PinTargetError(
            f"cannot read {target} ({error.strerror or error}); name a ClientTrustConfig file, or "
            "the 64 hexadecimal digits of a version that is kept"
        ) from error
    _say_change(deployment, kept.pin_file(data, where=target))


def _say_source(source: TrustSource) -> None:
    say(source.name)
    say(f"  sha256     {source.sha256}")
    say(f"  file       {source.place}")
    if source.checked_at is None:
        say("  confirmed  unknown: only whoever made the file can say whether it is current")
    else:
        say(f"  confirmed  {_day(source.checked_at)}, {source.age_days} days ago")


def _say_key(key: TrustedKey) -> None:
    end = "further notice" if key.valid_until is None else _day(key.valid_until)
    start = "ever" if key.valid_from is None else _day(key.valid_from)
    say(f"{key.kind} {key.address}")
    say(f"  from {start} until {end}, sha256 {key.sha256}")


def _say_change(deployment: Deployment, refreshed: Refreshed) -> None:
    for change in refreshed.changes:
        say(f"  {change}")
    if refreshed.changed:
        say(f"pinned {refreshed.current.sha256}, was {refreshed.previous_sha256}")
    else:
        say(f"unchanged: {refreshed.current.sha256}")
    source = trust_source(refreshed.current)
    say(f"  {source.name}, in {source.place}")
    if deployment.settings.trust_config is not None:
        named = f"{deployment.trust_named_by} names {deployment.settings.trust_config}"
        say(f"note: {named}, which counts in its place", stderr=True)
    _warn(source)


def _warn(source: TrustSource) -> None:
    if (warning := source.warning()) is not None:
        say(f"warning: {warning}", stderr=True)


def _day(moment: datetime) -> str:
    return moment.date().isoformat()
