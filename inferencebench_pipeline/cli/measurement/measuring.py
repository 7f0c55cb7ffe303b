"""The commands ``run``, ``search`` and ``replay``: they measure, up to the unsigned envelope."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from inferencebench_pipeline.cli.measurement.live import shown
from inferencebench_pipeline.cli.measurement.specs import SetOption, SpecArgument, plan_of
from inferencebench_pipeline.cli.policy.signer_options import (
    IdentityOption,
    IdentityRegexpOption,
    IssuerOption,
    IssuerRegexpOption,
    OwnerOption,
    PolicyFromOption,
    RepoOption,
    SignerOptionError,
    SignerOptions,
)
from inferencebench_pipeline.cli.targets import Target, resolve
from inferencebench_pipeline.cli.terminal import console as new_console
from inferencebench_pipeline.cli.terminal import say_hanging
from inferencebench_pipeline.cli.verification.verifying import (
    OrganisationOption,
    PolicyOption,
    TrustOption,
    basis_of,
    deployment_with,
)
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.envelope import parse_envelope, pipeline_extension, write_envelope
from inferencebench_pipeline.measure import (
    DEFINITIONS,
    BenchmarkSpec,
    EngineAudit,
    EngineSpec,
    Measurement,
    ModelSpec,
    SearchResult,
    SpecError,
    engine_kinds,
    errors_of,
    find_highest,
    load_label,
    own_spec_among,
    replayed_spec,
    require_same_load,
    run_benchmark,
    search_bases,
    spec_of_run,
    write_measurement,
    write_search,
    write_traces,
)
from inferencebench_pipeline.runs import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.settings import Settings
from inferencebench_pipeline.untrusted import printable, problems_of


def run(
    spec: Annotated[
        str | None,
        typer.Argument(
            help="A spec file, or the name of a shipped spec. Not needed with --run-id."
        ),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(help="Finish this run by its own spec, instead of starting a new one."),
    ] = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
) -> None:
    """Run a benchmark, and write the traces, metrics and unsigned envelope of each load point."""
    store, console = RunStore(Settings.from_environment().store), new_console()
    if run_id is not None:
        directory = store.run(run_id)
        measure(_spec_to_finish(directory, spec, overrides), directory, console)
        return
    if spec is None:
        raise SpecError(
            "no spec is named; name a spec file or a shipped spec, or a run with --run-id"
        )
    # Each id is made when its run begins, because it carries that time.
    for point in plan_of(spec, overrides).runs:
        measure(point, store.run(new_run_id()), console)


def _spec_to_finish(
    directory: RunDirectory, spec: str | None, overrides: list[str]
) -> BenchmarkSpec:
    """Return the spec of the run; one that is given must equal it, or starts a run without any.

    Raises:
        SpecError: the given spec is another one, or there is no spec at all.
    """
    if spec is None:
        if overrides:
            raise SpecError(
                "--set needs a spec whose fields it replaces; a run is finished by its own spec, "
                "unchanged"
            )
        return spec_of_run(directory)
    plan = plan_of(spec, overrides)
    if directory.has(RunFile.SPEC):
        return own_spec_among(plan.runs, directory)
    if len(plan.runs) > 1:
        raise SpecError(
            f"the spec {plan.name} expands to {len(plan.runs)} runs, but --run-id names only one; "
            "pick one load point with --set"
        )
    return plan.runs[0]


def search(spec: SpecArgument, overrides: SetOption = []) -> None:  # noqa: B006
    """Find the highest load that meets the SLO; each probe is recorded as a run."""
    settings = Settings.from_environment()
    plan = plan_of(spec, overrides)
    if plan.search is None:
        raise SpecError(
            f"the spec {plan.name} has no search; add a field like search: {{low: 1, high: 64}}"
        )
    store, console = RunStore(settings.store), new_console()

    def probe(point: BenchmarkSpec, run_id: str) -> Measurement:
        return measure(point, store.run(run_id), console)

    for base in search_bases(plan):
        found = find_highest(base, plan.search, probe)
        path = write_search(settings.store, found)
        console.print(_probes(found))
        console.print(f"{found.reason}; written to {path}", markup=False, soft_wrap=True)


def _probes(found: SearchResult) -> Table:
    table = Table("load", "met the SLO", "95 % interval", "outcome", "run", title=found.name)
    for probe in found.probes:
        share = f"{probe.met}/{probe.requests}"
        bounds = f"{probe.low:.1%} to {probe.high:.1%}"
        table.add_row(f"{probe.load:g}", share, bounds, probe.outcome, probe.run_id)
    return table


def replay(
    target: Annotated[
        str,
        typer.Argument(help="An envelope.json, a run directory, or hf://datasets/ORG/NAME\\[@rev]"),
    ],
    engine: Annotated[
        str | None,
        typer.Option(
            help="The engine to measure: an address with /v1, embedded, vllm, or your own "
            "spec, whose engine and model are used."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model to ask for, instead of the one in the record.")
    ] = None,
    data: Annotated[
        Path, typer.Option(help="The folder with the data files that the envelope names.")
    ] = Path(),
    client_processes: Annotated[
        int, typer.Option(min=1, max=256, help="The number of processes of the measuring client.")
    ] = 1,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Replay a record without verifying it.")
    ] = False,
    policy: PolicyOption = None,
    trust_config: TrustOption = None,
    organisation: OrganisationOption = None,
    owner: OwnerOption = None,
    repo: RepoOption = None,
    certificate_identity: IdentityOption = None,
    certificate_identity_regexp: IdentityRegexpOption = None,
    certificate_oidc_issuer: IssuerOption = None,
    certificate_oidc_issuer_regexp: IssuerRegexpOption = None,
    policy_from: PolicyFromOption = None,
) -> None:
    """Send the load of an envelope again, with the same questions and times, to your engine.

    The record is verified first. Only the load is taken from it, and never an engine, its
    arguments, its environment or an address.
    """
    # Checked first, so that a mistake in an option costs no verification.
    chosen_engine, chosen_model = own_engine(engine, model)
    deployment = deployment_with(policy, trust_config)
    found = resolve(_unsigned_too(target), deployment.hub)
    if not unverified:
        signer = SignerOptions(
            owner=owner,
            repo=repo,
            identity=certificate_identity,
            identity_regexp=certificate_identity_regexp,
            issuer=certificate_oidc_issuer,
            issuer_regexp=certificate_oidc_issuer_regexp,
            policy_from=policy_from,
        )
        _require_verified(deployment, found, organisation, signer)
    document = parse_envelope(found.envelope)
    extension = pipeline_extension(document)
    if extension is None:
        raise SpecError(
            f"{found.where} was not made by this pipeline, so it does not contain its spec"
        )
    spec = replayed_spec(
        document.driver_options,
        engine=chosen_engine,
        model=chosen_model,
        folder=data.absolute(),
        processes=client_processes,
    )
    # The data files are local, so the load that they give has to be that of the record.
    require_same_load(
        spec, workload_hash=extension.workload_hash, schedule_hash=extension.schedule_hash
    )
    store, console = RunStore(Settings.from_environment().store), new_console()
    console.print(_what_is_asked(spec), markup=False, soft_wrap=True)
    measure(spec, store.run(new_run_id()), console)


def _what_is_asked(spec: BenchmarkSpec) -> str:
    """Return a sentence about the size of a replay, which a stranger chose and the reader pays."""
    load, workload = spec.load, spec.workload
    each = load.requests + load.warmup_requests
    times = f"up to {spec.repeats.at_most} times, " if spec.repeats.at_most > 1 else ""
    return f"sends {each:,} requests, {times}each for up to {workload.max_tokens:,} tokens"


def _unsigned_too(target: str) -> str:
    """Return the target, or the unsigned envelope of a run directory that is not signed yet."""
    unsigned = Path(target) / RunFile.UNSIGNED_ENVELOPE.value
    signed = unsigned.with_name(RunFile.ENVELOPE.value)
    return str(unsigned) if unsigned.is_file() and not signed.is_file() else target


def _require_verified(
    deployment: Deployment, found: Target, organisation: str | None, signer: SignerOptions
) -> None:
    """End the command with exit code 1 unless the record is what its signer signed.

    The traces may be missing: only what was asked of the engine is repeated, and not the numbers.
    """
    advice = "use --unverified to replay it anyway"
    try:
        verdict = basis_of(deployment, found, organisation, signer).verdict
    except SignerOptionError as error:
        raise SignerOptionError(f"{error}; or {advice}") from error
    if not verdict.signature_holds:
        # A rejected record has an exit code of its own, which no error of ours may use.
        said = f"REJECTED: {printable(verdict.reason, 500)}; {advice}"
        say_hanging(said, stderr=True)
        sys.exit(1)


def own_engine(named: str | None, model: str | None) -> tuple[EngineSpec, ModelSpec | None]:
    """Return the engine that the reader of an envelope names, and the model if there is one.

    Args:
        named: an address with ``/v1``, ``embedded``, ``vllm``, or the reader's own spec.
        model: the id of a model, which replaces that of the spec.

    Raises:
        SpecError: no engine is named, or the name does not describe one.
    """
    if named is None:
        raise SpecError(
            "an envelope is replayed on your engine, not on one that it describes; name yours with "
            "--engine, as an address such as http://127.0.0.1:8000/v1, embedded, vllm, or your own "
            "spec"
        )
    own_model: ModelSpec | None = None
    kind = engine_kinds().get(named)
    if kind is not None and kind.started_here:
        content: object = {"kind": named}
    elif "://" in named:
        content = {"kind": "openai", "base_url": named}
    else:
        runs = plan_of(named, []).runs
        content, own_model = runs[0].engine, runs[0].model
        if any((run.engine, run.model) != (content, own_model) for run in runs):
            raise SpecError(
                f"the spec {named} has several engines or models; name a spec with one of each"
            )
    try:
        # Through the model, so that an address is held to the same rules as in a spec.
        engine: EngineSpec = TypeAdapter(EngineSpec).validate_python(content)
        return engine, own_model if model is None else ModelSpec(id=model)
    except ValidationError as error:
        problems = problems_of(error, whole="the engine")
        raise SpecError(f"--engine and --model do not name an engine: {problems}") from error


def measure(spec: BenchmarkSpec, directory: RunDirectory, console: Console) -> Measurement:
    """Measure one run, and write all its files up to the unsigned envelope."""
    title = f"{spec.name}: {spec.model.id}, {load_label(spec.load)}"
    console.print(f"run {directory.run_id}", markup=False)
    # The lock keeps a second process from measuring the same run.
    with directory.writing("measuring"):
        with shown(console, title) as listener:
            run_benchmark(spec, directory, on_progress=listener)
        write_traces(directory)
        measurement = write_measurement(directory)
        write_envelope(directory)
    console.print(_headline(measurement, title))
    if measurement.audit is not None:
        console.print(_audit(measurement.audit))
    _print_flags(measurement, console)
    console.print(f"written to {directory.path}", markup=False, soft_wrap=True)
    if not errors_of(measurement.validity):
        console.print(f"next: inferencebench sign {directory.run_id}", markup=False)
    return measurement


def _print_flags(measurement: Measurement, console: Console) -> None:
    """Print the validity flags that are raised, with the errors first."""
    raised = [flag for flag in measurement.validity if not flag.ok]
    # "error" sorts before "warn".
    for flag in sorted(raised, key=lambda flag: flag.severity):
        word = "not valid" if flag.severity == "error" else "warning"
        line = f"{word}: {flag.name}: {printable(flag.detail)}"
        console.print(line, markup=False, soft_wrap=True)
    if errors_of(raised):
        console.print(
            "this run cannot be signed or published; measure again under a new run id",
            markup=False,
            soft_wrap=True,
        )


def _audit(audit: EngineAudit) -> Table:
    """Return the engine's own numbers beside ours, or a caption with the reason for their lack."""
    title = "the engine's own numbers, with the warm-up"
    table = Table("quantity", "engine", "ours", "unit", "", title=title, caption=audit.null_reason)
    for line in audit.lines:
        ours = "" if line.ours is None else f"{line.ours:,.3f}"
        table.add_row(line.name, f"{line.engine:,.3f}", ours, line.unit, line.note)
    return table


def _headline(measurement: Measurement, title: str) -> Table:
    table = Table("metric", "value", "unit", "n", title=title)
    for key, metric in measurement.metrics.items():
        if "summary" in DEFINITIONS[key].shown_on:
            value = metric.null_reason if metric.value is None else f"{metric.value:,.3f}"
            table.add_row(DEFINITIONS[key].label, value, metric.unit, str(metric.n))
    return table
