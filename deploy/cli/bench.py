"""graftwork bench index | serve | train."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import bench_serve, bench_train
from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.bench.figures import ShortRun
    from indexer.bench.measure import Measurement

app = typer.Typer(help="Measurements on this machine.", no_args_is_help=True)
app.command()(bench_serve.serve)
app.command()(bench_train.train)


@app.callback()
def group() -> None:
    """Measurements on this machine."""


@app.command()
def index(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Files, folders, 'docs/**/*.html' of this machine [the demo's corpus]."),
    ] = None,
    documents: Annotated[int | None, typer.Option(min=1, help="So many of them, at even distances [all].")] = None,
    repeats: Annotated[int, typer.Option(min=0, help="Runs without a change, and as many with one.")] = 3,
    json_output: JsonOption = False,
) -> None:
    """Index a copy of documents into a collection of its own, and hold the run against the embedder alone.

    The embedder alone encodes the same chunks in the same batches with as many threads, in a worker of its own. The
    collection is dropped at the end.
    """
    settings = cli_context(context).load().settings
    from deploy.demo.recipe import CORPUS
    from deploy.local.runtime import runtime
    from indexer.sources.discovery import discover

    found = discover(sources or [CORPUS])
    with (
        quiet_stdout(json_output),
        notes().status("connecting to Ray and Milvus") as status,
        runtime(settings) as running,
    ):
        from indexer.bench.measure import measure

        measured = measure(found, settings=running.indexer, documents=documents, repeats=repeats, tell=status.update)
    if json_output:
        print_json(asdict(measured))
    else:
        _print(measured)


def _print(measured: Measurement) -> None:
    from rich.table import Table

    output, full, alone, ratios = results(), measured.full, measured.alone, measured.ratios
    output.print(
        f"{full.documents} documents, {full.chunks} chunks in {full.span.batches} batches; {measured.cpus} cores, "
        f"{measured.actors} embedding actors, {alone.threads} threads in all"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("index run", "embedder alone", "ratio"):
        table.add_column(name, justify="right")
    together = alone.load_s + alone.encode_s
    table.add_row("whole, s", f"{full.seconds:.1f}", f"{together:.1f}", "")
    table.add_row("chunks/s", *_rates(full.chunks, full.seconds, together), f"{ratios.end_to_end:.3f}")
    table.add_row("first to last batch, s", f"{full.span.first_to_last_s:.1f}", f"{alone.encode_s:.1f}", "")
    table.add_row(
        "chunks/s",
        *_rates(full.chunks, full.span.first_to_last_s, alone.encode_s),
        f"{ratios.first_to_last_batch:.3f}",
    )
    table.add_row("loading the model, s", f"{full.span.load_s:.1f}", f"{alone.load_s:.1f}", "")
    output.print(table)
    output.print(f"stages of the run: {', '.join(f'{stage} {s:.1f} s' for stage, s in full.stages.items())}")
    for words, runs in (("nothing changed", measured.second), ("one document changed", measured.changed)):
        if runs:
            output.print(f"{words}: {_short(runs)}")


def _rates(chunks: int, *seconds: float) -> tuple[str, ...]:
    return tuple(f"{chunks / each:.1f}" for each in seconds)


def _short(runs: Sequence[ShortRun]) -> str:
    last = runs[-1]
    seconds = ", ".join(f"{run.seconds:.1f}" for run in runs)
    return f"{seconds} s; {last.written} chunks written, {last.embedded} embedded, model loaded {last.models} times"
