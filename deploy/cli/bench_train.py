"""graftwork bench train."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from train.bench.figures import Measured


def train(
    context: typer.Context,
    datasets: Annotated[
        list[str] | None, typer.Argument(metavar="DATASET", help="What to learn from [48 general questions].")
    ] = None,
    steps: Annotated[int, typer.Option(min=3, max=200, help="Optimiser steps of each run.")] = 12,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; each trains every way once.")] = 3,
    json_output: JsonOption = False,
) -> None:
    """Hold a run of one Ray Train worker against the same steps without Ray, by our trainer and by TRL's own.

    Nothing is published.
    """
    settings = cli_context(context).load().settings
    import train as package
    from deploy.local.runtime import runtime

    found = datasets or [str(Path(package.__file__).parent / "general.jsonl")]
    with (
        quiet_stdout(json_output),
        notes().status("connecting to Ray") as status,
        runtime(settings, need_milvus=False),
    ):
        from train.bench.measure import measure

        measured = measure(found, settings=settings.train, steps=steps, repeats=repeats, tell=status.update)
    if json_output:
        print_json(asdict(measured))
    else:
        _print(measured)


def _print(measured: Measured) -> None:
    from rich.table import Table

    output = results()
    output.print(f"{measured.steps} steps of {measured.tokens} tokens in all; medians of the rounds")
    table = Table(box=None, pad_edge=False)
    for name in ("", "start-up, s", "tokens/s", "tokens/s through Ray against it"):
        table.add_column(name, justify="right" if name else "left")
    for way, runs in measured.runs.items():
        startup, speed = (
            statistics.median(getattr(run, name) for run in runs) for name in ("startup_s", "tokens_per_s")
        )
        ratio = measured.ratios.get(f"ray/{way}")
        table.add_row(way, f"{startup:.1f}", f"{speed:.0f}", "" if ratio is None else f"{ratio:.3f}")
    output.print(table)
