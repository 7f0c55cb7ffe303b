"""The commands ``policy init``, ``check``, ``explain`` and ``sign``: files that people review."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from inferencebench_pipeline.cli.policy.signer_options import (
    IdentityOption,
    IssuerOption,
    RepoOption,
    SignerOptionError,
    SignerOptions,
)
from inferencebench_pipeline.cli.terminal import say, say_document
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import read_plain, write_atomically
from inferencebench_pipeline.settings import Settings
from inferencebench_pipeline.trust import (
    POLICY_SUITE,
    DevKeyRule,
    IdentityPolicy,
    PolicyError,
    RequiredSigner,
    SignerRule,
    key_fingerprint,
    load_policy,
    policy_statement,
)
from inferencebench_pipeline.untrusted import write_yaml

_EXIT_WRONG_INPUT: Final = 2
_HEAD: Final = """\
# Who may sign for whom. What is not listed here is refused. Review each change of this file, since
# whoever may change it decides whose results are accepted. It is named by --policy or
# INFERENCEBENCH_POLICY.
# Check it:    inferencebench policy check policy.yaml
# Read it out: inferencebench policy explain policy.yaml
"""
_COMMENTS: Final = {
    "- organisation: ": "the namespace on the Hub, exactly",
    "  suites:": "patterns of suite ids, such as llm.inference.*",
    "  issuer: ": "the party that vouches for the identity",
    "  identity: ": "the name in the certificate, exactly",
    "  workflow:": "what the certificate must say about the CI build, each exactly",
    "  valid_from: ": "the first instant at which a signature counts; valid_until ends it",
}

FileArgument = Annotated[Path, typer.Argument(help="A policy file.")]

app = typer.Typer(
    help="Write, check and explain identity policies: who may sign for whom (docs/trust.md).",
    no_args_is_help=True,
)


class PolicyFileError(PermanentError):
    """The new policy cannot be written where it was asked for."""


@app.command()
def init(
    organisation: Annotated[
        str, typer.Option(help="The namespace on the Hub whose results they sign.")
    ],
    file: Annotated[
        Path | None, typer.Argument(help="The new file. Default: the standard output.")
    ] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="A pattern of suite ids. Repeatable. Default: all.")
    ] = None,
    repo: RepoOption = None,
    certificate_identity: IdentityOption = None,
    certificate_oidc_issuer: IssuerOption = None,
) -> None:
    """Write a policy with comments, in which one signer may sign for one organisation from today.

    Name the signer by --repo, or by --certificate-identity with --certificate-oidc-issuer. A policy
    compares both exactly, so write them as the certificate spells them, which `inferencebench
    explain` shows. A policy never trusts all repositories of an owner: to believe an owner for one
    command, give --owner to `inferencebench verify`, which needs no policy.
    """
    signer = SignerOptions(
        repo=repo, identity=certificate_identity, issuer=certificate_oidc_issuer
    ).required()
    if signer is None:
        raise SignerOptionError(
            "name the signer: --repo OWNER/REPO, or --certificate-identity with "
            "--certificate-oidc-issuer. A policy trusts no owner as a whole; without a policy, "
            "`inferencebench verify --owner ORG` does"
        )
    text = _new_policy(organisation, suite or ["*"], signer)
    if file is None:
        say_document(text)
        return
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except OSError as error:
        raise PolicyFileError(
            f"cannot write {file} ({error.strerror}); name a file that does not exist yet"
        ) from error
    say(f"wrote {file}; check that it says what you mean: inferencebench policy explain {file}")


@app.command()
def check(file: FileArgument) -> None:
    """Check a policy, and say line by line what is wrong with it.

    Exit codes: 0 it can be used, 2 it cannot.
    """
    try:
        policy = load_policy(file, named_by="the name of the file")
    except PolicyError as error:
        for problem in error.problems:
            say(problem, stderr=True)
        sys.exit(_EXIT_WRONG_INPUT)
    say(f"{file}: {len(policy.signers)} signers, {len(policy.dev_keys)} development keys")
    say(f"  sha256 {policy.sha256}")


@app.command()
def explain(file: FileArgument) -> None:
    """Say in sentences who may sign for which organisation and suite, from when to when."""
    for sentence in sentences_of(load_policy(file, named_by="the name of the file")):
        say(sentence)


@app.command()
def sign(file: FileArgument) -> None:
    """Sign a policy, so that readers can use it where it is published, and log the signature.

    The signature is written beside it. Upload both to a dataset on the Hub, as policy.yaml and
    policy.yaml.sigstore.json. Use another identity than the one that signs results: the log
    monitor would take the entry for a thief's.
    """
    deployment = Deployment(Settings.from_environment())
    policy = load_policy(file, named_by="the name of the file")
    data = read_plain(file)
    signature = file.with_name(f"{file.name}.sigstore.json")
    statement = policy_statement(data, name=file.name)
    bundle = deployment.policy_signer().sign_statement(statement, suite_id=POLICY_SUITE)
    write_atomically(signature, bundle)
    say(f"signed {file} (SHA-256 {policy.sha256}); the signature is in {signature}")


def sentences_of(policy: IdentityPolicy) -> Iterator[str]:
    """Yield what a policy allows, a rule a sentence, and at the end what it refuses."""
    for rule in policy.signers:
        yield f"{_span(rule)}, {_who(rule)} may sign {_for_what(rule)}."
    for key in policy.dev_keys:
        yield _of_key(key, policy)
    yield "Nobody else may sign." if policy.signers or policy.dev_keys else "Nobody may sign."
    yield f"The policy's SHA-256 is {policy.sha256}."


def _span(rule: SignerRule) -> str:
    start = rule.valid_from.astimezone(UTC).isoformat()
    if rule.valid_until is None:
        return f"From {start} on"
    return f"From {start} until {rule.valid_until.astimezone(UTC).isoformat()}"


def _who(rule: SignerRule) -> str:
    claims = " and ".join(f"{name} {value}" for name, value in sorted(rule.workflow.items()))
    who = rule.identity or "anybody"
    if claims:
        who += f" whose certificate says {claims}"
    return f"{who}, vouched for by {rule.issuer},"


def _for_what(rule: SignerRule | DevKeyRule) -> str:
    return f"{', '.join(rule.suites)} for {rule.organisation}"


def _of_key(key: DevKeyRule, policy: IdentityPolicy) -> str:
    name = f"The development key {key_fingerprint(key.public_key)}"
    shadowed = [
        suite
        for suite in key.suites
        if any(rule.covers(key.organisation, suite) for rule in policy.signers)
    ]
    if shadowed:
        return (
            f"{name} counts for nothing for {key.organisation} where a signer above may sign "
            f"({', '.join(shadowed)})."
        )
    return f"{name} may sign {_for_what(key)}, in no log and with nobody vouching for it."


def _new_policy(organisation: str, suites: list[str], signer: RequiredSigner) -> str:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rule: dict[str, object] = {
        "organisation": organisation,
        "suites": suites,
        "issuer": str(signer.issuer),
    }
    if signer.identity is not None:
        rule["identity"] = str(signer.identity)
    if signer.claims:
        rule["workflow"] = dict(signer.claims)
    rule["valid_from"] = today.isoformat().replace("+00:00", "Z")
    text = write_yaml({"version": 1, "signers": [rule]})
    return _HEAD + "".join(f"{_commented(line)}\n" for line in text.splitlines())


def _commented(line: str) -> str:
    for beginning, comment in _COMMENTS.items():
        if line.startswith(beginning):
            return f"{line}  # {comment}"
    return line
