"""graftwork runs list | show | compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, print_json, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from pydantic import JsonValue

    from train.runs.compare import Comparison
    from train.runs.stored import FoundRuns, Run

app = typer.Typer(help="Training runs: what they are made of, how they stand, what came of them.", no_args_is_help=True)
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a training run, as `runs list` shows it.")]
RunsArgument = Annotated[list[str], typer.Argument(metavar="RUN...", help="Names of two or more training runs.")]


@app.command("list")
def list_runs(context: typer.Context, json_output: JsonOption = False) -> None:
    """List every training run, the latest first."""
    storage = cli_context(context).load().settings.train.storage_path
    from train.runs.stored import find_runs

    found = find_runs(storage)
    if json_output:
        unreadable = [{"name": each.name, "reason": each.reason} for each in found.unreadable]
        print_json({"folder": str(storage), "runs": [run.summary() for run in found.runs], "unreadable": unreadable})
        return
    if not found.runs:
        results().print(f"No training runs in {storage}.", markup=False)
    _print_found(found)


@app.command()
def show(context: typer.Context, run: RunArgument, json_output: JsonOption = False) -> None:
    """Show what a run is made of, its loss, and where its page lies."""
    storage = cli_context(context).load().settings.train.storage_path
    from train.runs.stored import open_run

    found = open_run(storage, run)
    if json_output:
        print_json(found.to_json())
    else:
        _print_run(found)


@app.command()
def compare(context: typer.Context, runs: RunsArgument, json_output: JsonOption = False) -> None:
    """Show side by side what differs between runs, and below it what came of them."""
    storage = cli_context(context).load().settings.train.storage_path
    from train.runs.compare import compare as compared
    from train.runs.stored import open_run

    found = compared([open_run(storage, name) for name in runs])
    if json_output:
        print_json(found.to_json())
    else:
        _print_comparison(found)


def _print_found(found: FoundRuns) -> None:
    from train.runs.facts import shown_adapter, shown_steps

    lines = [
        (
            run.name,
            run.state,
            shown_adapter(run),
            shown_steps(run),
            _shown_loss(run),
            f"{run.record.started:%Y-%m-%d %H:%M}",
        )
        for run in found.runs
    ]
    _print_columns([("run", "state", "adapter", "steps", "loss", "started (UTC)"), *lines] if lines else [])
    for each in found.unreadable:
        results().print(f"{each.name} cannot be read: {each.reason}", markup=False)


def _print_run(run: Run) -> None:
    from train.runs.facts import facts, shown_value
    from train.runs.sparkline import sparkline

    output = results()
    _print_columns([("run", run.name), *facts(run), ("folder", str(run.folder))])
    if line := sparkline(run.progress):
        output.print(f"\nloss by step, {run.progress[0].step} to {run.progress[-1].step}\n{line}")
    output.print("\nsettings")
    _print_columns([(f"    {name}", shown_value(value)) for name, value in sorted(run.record.settings.items())])
    if run.drawings:
        output.print()
    for path in run.drawings:
        output.print(str(path), markup=False)


def _print_comparison(found: Comparison) -> None:
    header = ("", *found.runs)
    differences = [(row.name, *map(_shown, row.values)) for row in found.differences]
    lines = [(row.name, *map(_shown, row.values)) for row in found.results]
    if not differences:
        results().print("These runs are made of the same.")
    _print_columns([header, *differences, *([("",)] if differences else []), *lines])


def _print_columns(lines: Sequence[tuple[str, ...]]) -> None:
    count = max((len(line) for line in lines), default=0)
    widths = [max(len(line[place]) for line in lines if place < len(line)) for place in range(count)]
    for line in lines:
        shown = (cell.ljust(width) for cell, width in zip(line, widths, strict=False))
        results().print("  ".join(shown).rstrip(), markup=False, soft_wrap=True)


def _shown_loss(run: Run) -> str:
    if run.first_loss is None or run.last_loss is None:
        return "-"
    return f"{run.first_loss:.3f} -> {run.last_loss:.3f}"


def _shown(value: JsonValue) -> str:
    from train.runs.facts import shown_value

    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else shown_value(value)
