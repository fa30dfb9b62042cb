"""graftwork demo."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli.context import cli_context
from deploy.cli.lifecycle import JsonOption


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(demo)


def demo(
    context: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the instance up at the end.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter training, fewer questions.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Index, train, serve and compare four specialists on a built-in corpus: a quarter of an hour on two cores."""
    settings = cli_context(context).load().settings
    from deploy.demo.run import run_demo

    code = run_demo(settings, keep=keep, quick=quick, json_output=json_output)
    if code:
        raise typer.Exit(code)
