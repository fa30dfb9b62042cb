"""graftwork train."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from deploy.settings import Settings
    from train.types import TrainProgress, TrainRequest, TrainResult


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(train)


def train(
    context: typer.Context,
    dataset: Annotated[Path, typer.Argument(help="Chat dataset, JSON lines with `messages`.")],
    name: Annotated[str, typer.Option(help="Name of the adapter; the next version of it is published.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Ray Train workers [the setting train.workers].")] = None,
    time_budget: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="Stop at a step boundary and publish what there is.")
    ] = None,
    eval_dataset: Annotated[Path | None, typer.Option(help="Chat dataset to measure the loss on at the end.")] = None,
    run_name: Annotated[str | None, typer.Option(help="Go on with this run if it exists.")] = None,
    stable: Annotated[bool, typer.Option(help="Let NAME@stable mean the new version.")] = True,
    json_output: JsonOption = False,
) -> None:
    """Fine-tune a LoRA adapter on Ray Train and publish it into the registry."""
    settings = cli_context(context).load().settings
    from train.dataset import read_chat_dataset
    from train.registry.names import check_name
    from train.types import TrainRequest

    request = TrainRequest(
        dataset=dataset.expanduser().absolute(),
        name=check_name(name),
        workers=workers,
        time_budget_s=time_budget,
        eval_dataset=eval_dataset.expanduser().absolute() if eval_dataset else None,
        run_name=run_name,
        make_stable=stable,
    )
    for path in filter(None, (request.dataset, request.eval_dataset)):
        read_chat_dataset(path)
    with quiet_stdout(json_output):
        result = _train(request, settings=settings)
    if json_output:
        print_json(result.to_json())
    else:
        _print_result(result)


def _train(request: TrainRequest, *, settings: Settings) -> TrainResult:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from deploy.local.runtime import runtime

    console = notes()
    with ExitStack() as stack:
        with console.status("connecting to Ray; starting it for this command if no instance is up"):
            stack.enter_context(runtime(settings, need_milvus=False))
            from train.registry.registry import AdapterRegistry
            from train.run import run_training
        columns = (TextColumn("step"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("preparing", total=None)
            return run_training(
                request,
                settings=settings.train,
                registry=AdapterRegistry(settings.train.registry),
                progress=lambda progress: _show(progress, bar=bar, task=task),
            )


def _show(progress: TrainProgress, *, bar: Progress, task: TaskID) -> None:
    bar.update(
        task,
        description=(
            f"{progress.step}/{progress.total_steps}, loss {progress.loss:.3f}, {progress.tokens_per_s:.0f} tokens/s"
        ),
        completed=progress.step,
        total=progress.total_steps,
    )


def _print_result(result: TrainResult) -> None:
    output = results()
    early = " (stopped early: over the time budget)" if result.stopped_early else ""
    output.print(f"published  {result.manifest.ref}, rank {result.manifest.rank}")
    output.print(f"steps      {result.steps} of {result.planned_steps}{early} in {result.seconds:.0f} s")
    if result.first_loss is not None and result.final_loss is not None:
        output.print(f"loss       {result.first_loss:.3f} -> {result.final_loss:.3f}")
    if result.eval_loss is not None:
        output.print(f"eval loss  {result.eval_loss:.3f}")
    output.print(f"tokens     {result.tokens} at {result.tokens_per_s:.0f} per second")
    output.print(f"run        {result.run_name} in {result.run_path}", markup=False)
