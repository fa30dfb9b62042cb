"""graftwork train --sweep."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli.context import notes, print_json, quiet_stdout, results
from indexer.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from deploy.settings import Settings
    from train.sweep.results import SweepResult
    from train.sweep.run import SweepProgress
    from train.sweep.spec import SweepSpec
    from train.types import TrainRequest


def check_sweep_options(sweep: Path | None, *, publish: bool, plan: bool) -> None:
    """See that the options of a sweep stand with --sweep, and --plan without.

    Raises:
        InputError: They do not.
    """
    if sweep is None and not publish:
        raise InputError("--no-publish is for a sweep; name its file with --sweep, or leave it out.")
    if sweep is not None and plan:
        raise InputError("--plan and --sweep do not go together; plan one run of the sweep, without --sweep.")


def sweep_over(file: Path, request: TrainRequest, *, settings: Settings, publish: bool, json_output: bool) -> None:
    """Train a sweep and print what came of it.

    Raises:
        GraftworkError: As `run_sweep` does, and after the results where trials failed or the gate kept the best back.
    """
    from train.sweep.spec import read_spec

    spec = read_spec(file)
    with quiet_stdout(json_output):
        found = _swept(request, spec=spec, settings=settings, publish=publish)
    if json_output:
        print_json(found.to_json())
    else:
        print_sweep(found)
    if (error := found.error) is not None:
        raise error


def _swept(request: TrainRequest, *, spec: SweepSpec, settings: Settings, publish: bool) -> SweepResult:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from deploy.local.runtime import runtime
    from train.registry.registry import AdapterRegistry
    from train.sweep.run import run_sweep

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    console = notes()
    # Where nobody looks, Progress draws nothing but ends with an empty line.
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_interactive)
    with ExitStack() as stack, bar:

        def start_ray() -> None:
            stack.enter_context(runtime(settings, need_milvus=False))

        task = bar.add_task("checking every trial; Ray is started for this command if no instance is up", note="")
        return run_sweep(
            request,
            spec=spec,
            settings=settings.train,
            registry=AdapterRegistry(settings.train.registry),
            publish_best=publish,
            progress=lambda progress: _show(progress, bar=bar, task=task),
            start_ray=start_ray,
        )


def _show(progress: SweepProgress, *, bar: Progress, task: TaskID) -> None:
    now = progress.progress
    bar.update(
        task,
        description=f"{progress.run}, trial {progress.number} of {progress.trials}",
        completed=now.step,
        total=now.total_steps,
        note=f"{now.step}/{now.total_steps}, loss {now.loss:.3f}, {now.tokens_per_s:.0f} tokens/s",
    )


def print_sweep(found: SweepResult) -> None:
    """Print a table of the trials and what was published, and to standard error what failed."""
    from train.sweep.results import table

    output = results()
    for line in table(found):
        output.print(line, markup=False, soft_wrap=True)
    for trial in found.trials:
        if trial.reason is not None:
            notes().print(f"failed: {trial.run}: {trial.reason}", markup=False, soft_wrap=True)
    if found.published is not None and found.best is not None:
        output.print(f"published  {found.published}, of the run {found.best.run}", markup=False)
    output.print(f"sweep      {found.name} in {found.folder}", markup=False, soft_wrap=True)
