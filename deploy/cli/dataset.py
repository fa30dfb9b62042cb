"""graftwork dataset check | stats | preview; `write` is in dataset_write.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import dataset_write
from deploy.cli.context import cli_context, notes, print_json, results
from deploy.cli.lifecycle import JsonOption
from deploy.cli.train import DatasetsArgument

if TYPE_CHECKING:
    from rich.text import Text

    from train.data.report import DatasetReport
    from train.preview import PreviewedRow
    from train.types import TokenStatistics

app = typer.Typer(help="What is in a dataset, and what is wrong with it.", no_args_is_help=True)
app.command()(dataset_write.write)
EvalOption = Annotated[
    list[str] | None, typer.Option("--eval", metavar="DATASET", help="Evaluation rows; what training knows is told.")
]
_LISTED = 20


@app.command()
def check(
    context: typer.Context,
    datasets: DatasetsArgument,
    evaluation: EvalOption = None,
    near: Annotated[bool, typer.Option(help="Look for nearly equal rows, too.")] = True,
    strict: Annotated[bool, typer.Option(help="Fail on duplicates and on what training and evaluation share.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Name every line that cannot be trained on, equal and nearly equal rows, and what evaluation shares."""
    cli_context(context)
    from train.data.report import examine_dataset
    from train.data.sources import find_sources

    report = examine_dataset(
        find_sources(datasets), evaluation=find_sources(evaluation) if evaluation else (), near=near
    )
    if json_output:
        print_json(report.to_json())
    else:
        _print_report(report)
    report.refuse(strict=strict)


@app.command()
def stats(context: typer.Context, datasets: DatasetsArgument, json_output: JsonOption = False) -> None:
    """Count tokens, learned ones, and what is cut, as training would see them."""
    settings = cli_context(context).load().settings
    from train.token_source import count_tokens

    found = count_tokens(tuple(datasets), settings=settings.train)
    if json_output:
        print_json(found.to_json())
    else:
        _print_statistics(found, max_length=settings.train.max_length)


@app.command()
def preview(
    context: typer.Context,
    datasets: DatasetsArgument,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="Rows shown, spread evenly.")] = 3,
) -> None:
    """Show rows as the model reads them: learned tokens in green, others dim, those cut off in red."""
    settings = cli_context(context).load().settings
    from train.preview import preview_rows

    for row in preview_rows(tuple(datasets), settings=settings.train, rows=rows):
        results().print(_shown(row), soft_wrap=True)


def _print_report(report: DatasetReport) -> None:
    output = results()
    for each in report.sources:
        weight = f", weight {each.weight:g}" if each.weight != 1.0 else ""
        output.print(f"{each.place}  {each.rows} rows, {each.bad} bad{weight}", markup=False)
    listings = (
        ("bad", [f"{row.origin}: {row.reason}" for row in report.bad]),
        ("equal", [", ".join(map(str, group)) for group in report.equal]),
        ("nearly equal", [", ".join(map(str, group)) for group in report.nearly_equal]),
        ("in training and evaluation", [leak.sentence() for leak in report.leaks]),
    )
    for title, lines in listings:
        output.print(f"{title}: {len(lines)}", markup=False)
        for line in lines[:_LISTED]:
            output.print(f"    {line}", markup=False)
        if len(lines) > _LISTED:
            output.print(f"    and {len(lines) - _LISTED} more; --json lists all", markup=False)


def _print_statistics(found: TokenStatistics, *, max_length: int) -> None:
    output = results()
    output.print(f"rows        {found.rows}, the longest of {found.longest_row} tokens")
    output.print(f"lengths     {', '.join(f'{share:.0%}: {tokens}' for share, tokens in found.length_quantiles)}")
    learned = found.supervised_tokens / found.tokens
    output.print(f"tokens      {found.tokens}, of which {found.supervised_tokens} are learned ({learned:.0%})")
    output.print(f"cut         {found.cut_tokens} tokens of {found.truncated_rows} rows at max_length {max_length}")
    notes().print("Weights count: these are the rows of an epoch.")


def _shown(row: PreviewedRow) -> Text:
    from rich.text import Text

    text = Text()
    text.append(f"{row.origin}  {row.tokens} tokens, {row.learned} learned\n", style="bold")
    styles = {"learned": "green", "read": "dim", "cut": "red"}
    for piece in row.pieces:
        text.append(piece.text, style=styles[piece.kind])
    return text.append("\n")
