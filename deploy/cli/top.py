"""graftwork top."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, print_json, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from deploy.local.traffic import Scrape, Traffic


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(top)


def top(
    context: typer.Context,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look for one interval, print, end.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Show the traffic of the running instance by model until Ctrl-C; --json looks once."""
    settings = cli_context(context).load().settings
    from deploy.local.runtime import running_instance
    from deploy.local.traffic import traffic
    from indexer.errors import UnavailableError

    state = running_instance(settings)
    url = state.urls.get("metrics") if state else None
    if url is None:
        raise UnavailableError(f"Nothing of {settings.home} is up that has metrics; run `graftwork up`.")
    before = _look(url)
    if once or json_output:
        time.sleep(interval)
        found = traffic(before, _look(url))
        if json_output:
            print_json(found.to_json())
        else:
            results().print(table_of(found))
        return
    from rich.live import Live

    with Live(table_of(traffic(before, before)), console=results(), auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            after = _look(url)
            live.update(table_of(traffic(before, after)), refresh=True)
            before = after


def table_of(found: Traffic) -> Table:
    """The traffic as a table."""
    from rich.table import Table

    title = f"running {found.running}  waiting {found.waiting}  shed {found.shed_per_s:.1f}/s"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("model")
    for name in ("requests/s", "errors/s", "first token p50", "p95", "tokens/s", "cached"):
        table.add_column(name, justify="right")
    for model in found.models:
        table.add_row(
            model.model,
            f"{model.requests_per_s:.1f}",
            f"{model.errors_per_s:.1f}",
            _milliseconds(model.first_token_p50_s),
            _milliseconds(model.first_token_p95_s),
            f"{model.tokens_per_s:.1f}",
            "-" if model.cached_share is None else f"{model.cached_share:.0%}",
        )
    return table


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _look(url: str) -> Scrape:
    from deploy.local.traffic import parse, scrape

    text = scrape(url)
    return parse(text, at=time.monotonic())
