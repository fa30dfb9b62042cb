"""graftwork train."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption
from deploy.cli.sweep import check_sweep_options, sweep_over

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from deploy.settings import Settings
    from train.forecast import Forecast
    from train.registry.manifest import EngineRecord
    from train.types import TrainProgress, TrainRequest, TrainResult

# The time left is told from the pace of so many seconds; a step may take many.
_PACE_SECONDS = 600.0

DatasetsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="DATASET...",
        help="JSON lines with `messages`, or `prompt` and `completion`: files, patterns, s3://, gs:// or az://; "
        "FILE=0.5 takes half of its rows, FILE=2 each of them twice.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(train)


def train(
    context: typer.Context,
    datasets: DatasetsArgument,
    name: Annotated[str, typer.Option(help="Name of the adapter; the next version of it is published.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Ray Train workers [the setting train.workers].")] = None,
    time_budget: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Stop at a step boundary and publish what there is.")
    ] = None,
    eval_dataset: Annotated[
        list[str] | None, typer.Option(metavar="DATASET", help="What to measure base and adapter on at the end.")
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option(metavar="CONDITIONS", help='Publish only if the scores are so: "f1>=0.40, forgetting<=0.05".'),
    ] = None,
    skip_engine_check: Annotated[
        bool, typer.Option("--skip-engine-check", help="Publish without loading the adapter in vLLM: unverified.")
    ] = False,
    run_name: Annotated[str | None, typer.Option(help="Go on with this run if it exists.")] = None,
    stable: Annotated[bool, typer.Option(help="Let NAME@stable mean the new version.")] = True,
    sweep: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Train once for each combination of settings in this YAML file, and compare."
        ),
    ] = None,
    publish: Annotated[bool, typer.Option(help="With --sweep: publish the best adapter.")] = True,
    plan: Annotated[bool, typer.Option("--plan", help="Train nothing: say what the run would read and take.")] = False,
    measure: Annotated[bool, typer.Option(help="With --plan: train three steps here, for speed and memory.")] = True,
    json_output: JsonOption = False,
) -> None:
    """Fine-tune a LoRA adapter on Ray Train and publish it into the registry.

    With --sweep several, of which the best is published; --run-name names the sweep, and --time-budget is each one's.
    Exit code 3: some of them failed.
    """
    settings = cli_context(context).load().settings
    from train.registry.names import check_name
    from train.types import TrainRequest

    request = TrainRequest(
        datasets=tuple(datasets),
        name=check_name(name),
        workers=workers,
        time_budget_s=time_budget,
        eval_datasets=tuple(eval_dataset or ()),
        run_name=run_name,
        make_stable=stable,
        gate=gate,
        skip_engine_check=skip_engine_check,
    )
    check_sweep_options(sweep, publish=publish, plan=plan)
    if sweep is not None:
        sweep_over(sweep, request, settings=settings, publish=publish, json_output=json_output)
        return
    if plan:
        with quiet_stdout(json_output):
            told = _forecast(request, settings=settings, measure=measure)
        if json_output:
            print_json(told.to_json())
        else:
            _print_forecast(told, max_length=settings.train.max_length)
        return
    with quiet_stdout(json_output):
        result = _train(request, settings=settings)
    if json_output:
        print_json(result.to_json())
    else:
        _print_result(result)


def _forecast(request: TrainRequest, *, settings: Settings, measure: bool) -> Forecast:
    from train.forecast import forecast
    from train.prepare import prepare_run

    with notes().status("reading the datasets; training three steps, if that is to be measured"):
        return forecast(prepare_run(request, settings=settings.train), name=request.name, measure=measure)


def _train(request: TrainRequest, *, settings: Settings) -> TrainResult:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from train.registry.registry import AdapterRegistry
    from train.run import run_training

    columns = (
        *(TextColumn("step"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()),
        *(TextColumn("left"), TimeRemainingColumn()),
    )
    console = notes()
    # Where nobody looks, Progress draws nothing but ends with an empty line.
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        speed_estimate_period=_PACE_SECONDS,
        disable=not console.is_interactive,
    )
    with ExitStack() as stack, bar:
        task = bar.add_task("preparing; Ray is started for this command if no instance is up", total=None)
        return run_training(
            request,
            settings=settings.train,
            registry=AdapterRegistry(settings.train.registry),
            progress=lambda progress: _show(progress, bar=bar, task=task),
            start_ray=lambda: _entered(stack, settings=settings),
        )


def _entered(stack: ExitStack, *, settings: Settings) -> None:
    from deploy.local.runtime import runtime

    stack.enter_context(runtime(settings, need_milvus=False))


def _show(progress: TrainProgress, *, bar: Progress, task: TaskID) -> None:
    bar.update(
        task,
        description=(
            f"{progress.step}/{progress.total_steps}, loss {progress.loss:.3f}, {progress.tokens_per_s:.0f} tokens/s"
        ),
        completed=progress.step,
        total=progress.total_steps,
    )


def _print_forecast(found: Forecast, *, max_length: int) -> None:
    output, counted = results(), found.statistics
    output.print(f"adapter    {found.name} on {found.base}, {found.dtype}", markup=False)
    output.print(f"rows       {counted.rows} an epoch, {counted.tokens} tokens, {counted.supervised_tokens} learned")
    output.print(f"cut        {counted.cut_tokens} tokens of {counted.truncated_rows} rows at max_length {max_length}")
    kind = "rows"
    if (packed := found.packed) is not None:
        kind = "sequences"
        output.print(
            f"packed     {packed.rows} rows into {packed.sequences} sequences of {packed.length} tokens, "
            f"{packed.share:.1%} full"
        )
    output.print(
        f"steps      {found.steps} of {found.rows_per_step} {kind} over {found.workers} workers, {found.tokens} tokens"
    )
    if found.trial is None or found.seconds is None:
        output.print(f"measured   nothing: {found.reason}", markup=False)
        return
    trial = found.trial
    share = trial.trainable_parameters / trial.base_parameters
    output.print(
        f"learns     {trial.trainable_parameters} parameters, {share:.2%} of the base's {trial.base_parameters}"
    )
    output.print(f"memory     {trial.memory_mib} MiB a worker, measured")
    output.print(f"speed      {trial.tokens_per_s:.0f} tokens/s a worker alone, {trial.step_s:.2f} s a step")
    output.print(f"time       {_shown_time(found.seconds)}, where every worker is as fast", markup=False)


def _shown_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _engine_found(found: EngineRecord | None) -> str:
    if found is None:
        return "not checked: the adapter is unverified"
    return (
        f"{found.name} {found.version} differs from PEFT by {found.median_difference:.1g} nats at the median of "
        f"{found.tokens} tokens and {found.max_difference:.1g} at most ({found.dtype})"
    )


def _print_result(result: TrainResult) -> None:
    from train.scores import base

    output = results()
    early = " (stopped early)" if result.stopped_early else ""
    output.print(f"published  {result.manifest.ref}, rank {result.manifest.rank}")
    output.print(f"steps      {result.steps} of {result.planned_steps}{early} in {result.seconds:.0f} s")
    if result.best_step is not None:
        output.print(f"best       after step {result.best_step}")
    if result.first_loss is not None and result.final_loss is not None:
        output.print(f"loss       {result.first_loss:.3f} -> {result.final_loss:.3f}")
    for label, score in (("eval loss", "eval_loss"), ("f1", "f1"), ("general", "general_loss")):
        if score in result.scores:
            was, now = result.scores[base(score)], result.scores[score]
            output.print(f"{label:<10} {was:.3f} of the base -> {now:.3f}")
    output.print(f"engine     {_engine_found(result.manifest.engine)}")
    output.print(f"tokens     {result.tokens} at {result.tokens_per_s:.0f} per second")
    output.print(f"run        {result.run_name} in {result.run_path}", markup=False)
