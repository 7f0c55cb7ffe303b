"""The command with which a reader verifies a record, as cards, pages and the demo print it.

A page that names its own signer proves nothing: whoever forges the page names himself. So the
command asks for a name that the reader has typed already, the namespace, wherever the signer is
that organisation's own on github.com. Elsewhere the lines above it say what the reader must know
from another source.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from inferencebench_pipeline.trust import (
    GITHUB,
    GITHUB_ISSUER,
    LogPosition,
    VerifiedSigner,
    log_ids,
    shipped_trust,
)
from inferencebench_pipeline.untrusted import printable

PUBLIC_ENDPOINT = "https://huggingface.co"
TRUST_CONFIG_FILE = "trust_config.json"
POLICY_FILE = "policy.yaml"
"""The names under which the command expects the files that a reader has to get or to write."""
_KEYLESS = "sigstore-cosign"
"""The method of a signature by an identity; a key has no identity to ask for."""
_MOST_CHARACTERS = 2_000
_SHOWN_DIGITS = 16


@dataclass(frozen=True)
class Proof:
    """The facts about a record's signature that a good verdict found.

    Attributes:
        signer: who has signed. None without a verdict.
        log: where the signature is logged. None without a log.
    """

    signer: VerifiedSigner | None = None
    log: LogPosition | None = None


def verify_instructions(target: str, namespace: str, proof: Proof, *, endpoint: str) -> str:
    """Return the command that verifies a record on the Hub, below comments on what it needs.

    Args:
        target: ``hf://datasets/ORG/NAME/envelope.json``, with or without a revision.
        namespace: the Hub namespace in it.
        proof: what a good verdict found.
        endpoint: the Hub's address.
    """
    private = is_private(proof.log)
    lines = [f"# {line}" for line in _needed(namespace, proof, private=private)]
    options = [
        *([f"--trust-config {TRUST_CONFIG_FILE}"] if private else []),
        *signer_options(proof.signer, namespace),
    ]
    return "\n".join([*lines, verify_command(target, *options, endpoint=endpoint)])


def verify_command(target: str, *options: str, endpoint: str = PUBLIC_ENDPOINT) -> str:
    """Return the command that verifies a target, for a shell, with an option a line.

    Args:
        target: anything that ``inferencebench verify`` takes.
        options: options with their values, quoted where they need it.
        endpoint: the Hub's address. Another one than the public Hub's is part of the command.
    """
    words = f"inferencebench verify {shlex.quote(target)}"
    if endpoint != PUBLIC_ENDPOINT:
        words = f"HF_ENDPOINT={shlex.quote(endpoint)} {words}"
    return " \\\n    ".join([words, *options])


def signer_options(signer: VerifiedSigner | None, namespace: str) -> list[str]:
    """Return the options that say whose signature to believe; the identity comes last."""
    if signer is None or signer.method != _KEYLESS:
        return [f"--policy {POLICY_FILE}"]
    if (owner := _own_workflow(signer, namespace)) is not None:
        return [f"--owner {owner}"]
    return [
        f"--certificate-oidc-issuer {shlex.quote(one_line(signer.issuer))}",
        f"--certificate-identity {shlex.quote(one_line(signer.identity))}",
    ]


def is_private(log: LogPosition | None) -> bool:
    """Return whether the trust root that ships with this program does not know a log."""
    return log is not None and log.log_id not in _shipped_logs()


def one_line(text: str) -> str:
    """Return a stranger's text as one line of characters that are shown, at most 2,000."""
    return printable(text, _MOST_CHARACTERS)


def _needed(namespace: str, proof: Proof, *, private: bool) -> Iterator[str]:
    """Yield a line for each thing that the reader has to bring."""
    if private and proof.log is not None:
        at = "" if proof.log.url is None else f" at {one_line(proof.log.url.partition('/api/')[0])}"
        yield f"The log {proof.log.log_id[:_SHOWN_DIGITS]}...{at} belongs to a Sigstore of its own,"
        yield "which the trust root that ships with inferencebench does not know. Get the trust"
        yield f"configuration from its operator, and keep it as {TRUST_CONFIG_FILE}."
    signer = proof.signer
    if signer is None or signer.method != _KEYLESS:
        yield f"Name in {POLICY_FILE} whom you believe: inferencebench policy init --help"
    elif _own_workflow(signer, namespace) is None:
        yield "This page names the signer itself, and a forged one would name its own: compare it"
        yield f"with what {one_line(namespace)} says elsewhere."


def _own_workflow(signer: VerifiedSigner, namespace: str) -> str | None:
    """Return the owner on github.com whose workflow signed, if its name is the namespace's."""
    if signer.issuer != GITHUB_ISSUER or not signer.identity.startswith(f"{GITHUB}/"):
        return None
    owner = signer.identity.removeprefix(f"{GITHUB}/").partition("/")[0]
    # Both sites take names that differ in case for the same; certificates spell them in one way.
    return owner if owner.lower() == namespace.lower() else None


@functools.cache
def _shipped_logs() -> frozenset[str]:
    return frozenset(name.hex() for log in shipped_trust().logs for name in log_ids(log))
