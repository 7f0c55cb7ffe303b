"""The commands ``evals …``: check, read and propose community evaluation results on the Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from inferencebench_pipeline.cli.terminal import console, say, say_document, say_json
from inferencebench_pipeline.community_results import (
    NONE,
    SPEC_FILE,
    Assessment,
    BenchmarkTask,
    CommunityResult,
    EvaluationHub,
    Reading,
    RunConfiguration,
    State,
    Submission,
    UnreadableResult,
    entry_of,
    examine,
    load_evaluations,
    parse_entries,
    parse_quality_result,
    parse_spec,
    publish_register,
    read_file,
    read_leaderboard,
    read_log,
    read_results,
    record_url,
    register_benchmark,
)
from inferencebench_pipeline.community_results import propose as propose_result
from inferencebench_pipeline.community_results import watch as watch_hub
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.hub import known_takedowns
from inferencebench_pipeline.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="Check, read and propose community evaluation results."
)
ModelArgument = Annotated[str, typer.Argument(help="The model, as ORG/NAME.")]


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help=f"A .eval_results/*.yaml file, or {SPEC_FILE}.")],
) -> None:
    """Check a results file or an eval.yaml against the Hub's specification."""
    data = read_file(file)
    if file.name == SPEC_FILE:
        spec = parse_spec(data, filename=str(file))
        say(f"{file}: {spec.name}: {len(spec.tasks)} tasks, valid")
    else:
        say(f"{file}: {len(parse_entries(data, filename=str(file)))} results, valid")


@app.command("from-log")
def from_log(
    file: Annotated[
        Path, typer.Argument(help="A log of Inspect AI, or a results file of lighteval.")
    ],
    benchmark: Annotated[str, typer.Option(help="The benchmark dataset, as ORG/NAME.")],
    task: Annotated[str, typer.Option(help="The id of the task in the benchmark's eval.yaml.")],
    metric: Annotated[
        str, typer.Option(help="SCORER/METRIC for Inspect AI, TASK/METRIC for lighteval.")
    ],
    revision: Annotated[
        str | None, typer.Option(help="The commit of the benchmark dataset that was used.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The id of the model on the Hub, where the log gives another name."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="The provider that served the model.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="The engine, as NAME/VERSION.")] = None,
    quantization: Annotated[
        str | None, typer.Option(help="The quantisation, as FORMAT/METHOD.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="The chat template: 'model' for the model's own, or a name.")
    ] = None,
    tools: Annotated[
        str | None, typer.Option(help=f"The tools, separated by commas, or {NONE!r}.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help=f"The judging model, or {NONE!r}.")] = None,
) -> None:
    """Print the quality result of a framework's log as JSON, for `propose`."""
    given = {
        "provider": provider,
        "engine": engine,
        "quantization": quantization,
        "template": template,
        "tools": tools,
        "judge": judge,
    }
    configuration = RunConfiguration.of_facets({k: v for k, v in given.items() if v is not None})
    reading = Reading(
        BenchmarkTask(id=benchmark, task_id=task, revision=revision), metric, model, configuration
    )
    result = read_log(read_file(file), reading, filename=str(file))
    say_json(result.model_dump_json(indent=2, by_alias=True))


@app.command()
def status(model: ModelArgument) -> None:
    """Show a model's results with their trust tiers, and its withheld results."""
    settings = Settings.from_environment()
    table = Table("tier", "benchmark", "task", "value", "request", "notes")
    for item in read_results(_hub(settings), model):
        request = "" if item.pull_request is None else f"#{item.pull_request}"
        if isinstance(item, UnreadableResult):
            table.add_row("unreadable", item.filename, "", "", request, item.error)
        else:
            entry = item.entry
            place = (item.tier.value, entry.dataset.id, entry.dataset.task_id)
            table.add_row(*place, f"{entry.value}", request, entry.notes or "")
    # The Hub does not show withheld results any more, so our own register tells of them.
    for gone in load_evaluations(settings.store).withheld(model):
        dataset = gone.entry.dataset
        table.add_row(
            "withheld",
            dataset.id,
            dataset.task_id,
            f"{gone.entry.value}",
            f"#{gone.pull_request}",
            _withheld(gone),
        )
    console().print(table)


@app.command()
def leaderboard(
    dataset: Annotated[str, typer.Argument(help="The benchmark dataset, as ORG/NAME.")],
    derived: Annotated[
        bool, typer.Option("--derived", help="Include models that declare a base model.")
    ] = False,
) -> None:
    """Show a benchmark's leaderboard with the trust tier of each row."""
    table = Table("rank", "model", "value", "tier", "request", "notes")
    hub = _hub(Settings.from_environment())
    for row in read_leaderboard(hub, dataset, derived_models=derived):
        request = "" if row.pull_request is None else f"#{row.pull_request}"
        cells = (f"{row.rank}", row.model_id, f"{row.value}", row.tier.value, request)
        table.add_row(*cells, row.notes or "")
    console().print(table)


@app.command()
def propose(
    result: Annotated[Path, typer.Argument(help="A quality result, as `from-log` prints it.")],
    record: Annotated[str, typer.Option(help="The dataset that holds the record, as ORG/NAME.")],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the file and the planned change, and send nothing."),
    ] = False,
    confirm: Annotated[
        str | None,
        typer.Option(help="The id of the model, to confirm a pull request on a model of others."),
    ] = None,
) -> None:
    """Propose a quality result for a model: a commit to our model, a pull request to others."""
    settings = Settings.from_environment()
    hub = _hub(settings)
    takedowns = known_takedowns(hub, settings.store, record.partition("/")[0])
    quality = parse_quality_result(read_file(result), filename=str(result))
    entry = entry_of(quality, record_id=record, record_url=record_url(hub, record))
    submission = Submission(quality.model_id, entry)
    assessment = examine(hub, settings.store, submission, takedowns=takedowns)
    _report(submission, assessment)
    if dry_run or assessment.state is not State.READY:
        say("Nothing was sent.")
        return
    # Only a person at a terminal can answer; a script has to give --confirm.
    if assessment.mode == "pull_request" and confirm is None and sys.stdin.isatty():
        confirm = typer.prompt(
            f"{submission.model_id} belongs to somebody else. Type its name to continue"
        )
    done = propose_result(
        hub, settings.store, submission, takedowns=takedowns, confirmation=confirm
    )
    # The Hub is looked at once more before anything is sent, and may have changed meanwhile.
    if isinstance(done, Assessment):
        say(f"{done.state.value}: {done.reason}; nothing was sent")
    else:
        say(f"{submission.path} is at {done.url}, commit {done.commit}")


@app.command()
def watch(
    benchmark: Annotated[
        list[str] | None, typer.Option(help="A benchmark dataset to look at. Repeatable.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Another model to look at. Repeatable.")
    ] = None,
) -> None:
    """Record the results in open pull requests, and those withheld since the last time."""
    settings = Settings.from_environment()
    found = watch_hub(
        _hub(settings), settings.store, benchmarks=benchmark or (), models=model or ()
    )
    for failure in found.failed:
        say(f"cannot be looked at: {failure}")
    for result in found.new:
        say(f"new: {_named(result)}: {result.url}")
    for result in found.withheld:
        say(f"withheld: {_named(result)}: {_withheld(result)}")
    say(
        f"{len(found.register.results)} results are known, "
        f"{len(found.register.withheld())} of them withheld"
    )


@app.command()
def withheld() -> None:
    """List every withheld result with the date and a link."""
    table = Table("model", "benchmark", "task", "value", "withheld")
    for result in load_evaluations(Settings.from_environment().store).withheld():
        dataset = result.entry.dataset
        place = (result.model_id, dataset.id, dataset.task_id, f"{result.entry.value}")
        table.add_row(*place, _withheld(result))
    console().print(table)


@app.command()
def register(
    dataset: Annotated[str, typer.Argument(help="A dataset of your organisation, as ORG/NAME.")],
    file: Annotated[Path, typer.Argument(help="The eval.yaml of the dataset.")],
) -> None:
    """Register a dataset as a benchmark by checking and committing its eval.yaml."""
    hub = _hub(Settings.from_environment())
    done = register_benchmark(hub, dataset, read_file(file), filename=str(file))
    say(f"{done.spec.name}: {len(done.spec.tasks)} tasks registered: {done.url}")
    if not done.listed:
        say(
            "The Hub does not rank results on it yet. Ask its staff to add it to their allow-list "
            "(the OpenEvals organisation's discussions)."
        )


@app.command()
def publish(
    org: Annotated[
        str | None,
        typer.Option("--org", help="The Hub namespace. Default: INFERENCEBENCH_ORGANISATION."),
    ] = None,
) -> None:
    """Publish the register of results as a dataset, with the withheld results."""
    settings = Settings.from_environment()
    organisation = org or Deployment(settings).require_organisation()
    commit = publish_register(_hub(settings), settings.store, organisation)
    say(f"{organisation}/community-results is at commit {commit}")


def _hub(settings: Settings) -> EvaluationHub:
    return Deployment(settings).evaluation_hub()


def _report(submission: Submission, assessment: Assessment) -> None:
    how = f" (by {assessment.mode.replace('_', ' ')})" if assessment.mode else ""
    say(f"{submission.model_id}: {assessment.state.value}{how}: {assessment.reason}")
    if assessment.url is not None:
        say(f"  {assessment.url}")
    say(f"{submission.path}:")
    say_document(submission.data.decode())


def _named(result: CommunityResult) -> str:
    dataset = result.entry.dataset
    return f"{result.model_id} {dataset.id} ({dataset.task_id}) {result.entry.value}"


def _withheld(result: CommunityResult) -> str:
    last = result.withheld[-1]
    who = "the model's author" if last.by is None else f"the model's author ({last.by})"
    return f"by {who}, {last.at:%Y-%m-%d}: {last.url}"
