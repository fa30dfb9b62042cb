"""graftwork status | doctor | settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from deploy.local.status import InstanceStatus

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "failed": "[red]✗[/]"}


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(status)
    app.command()(doctor)
    app.command()(settings)


def status(context: typer.Context, json_output: JsonOption = False) -> None:
    """Show every process, port, URL and version, the app's replicas and the registry."""
    loaded = cli_context(context).load()
    from deploy.local.status import read_status

    with quiet_stdout(json_output):
        found = read_status(loaded.settings)
    if json_output:
        print_json(found.to_json())
    else:
        _print_status(found)


def doctor(context: typer.Context, json_output: JsonOption = False) -> None:
    """Check memory, ports, versions, engine, model files, authentication, as `up` does.

    The first check that failed decides the exit code: 2, 4 or 5.
    """
    loaded = cli_context(context).load()
    from dataclasses import asdict

    from deploy.local.checks import judge, refuse_failed
    from deploy.local.preflight import examine
    from deploy.local.runtime import is_up

    with quiet_stdout(json_output), notes().status("looking at this machine"):
        given = examine(loaded.settings, own_instance_up=is_up(loaded.settings))
        verdicts = judge(given)
    if json_output:
        checks = [{key: value for key, value in asdict(verdict).items() if key != "error"} for verdict in verdicts]
        print_json({"ok": all(verdict.status != "failed" for verdict in verdicts), "checks": checks})
    else:
        output = results()
        for verdict in verdicts:
            output.print(f"{_MARKS[verdict.status]} {verdict.name:<15} ", end="")
            output.print(verdict.sentence, markup=False)
    refuse_failed(verdicts)


def settings(context: typer.Context, json_output: JsonOption = False) -> None:
    """Print every resolved setting and where its value came from."""
    loaded = cli_context(context).load()
    values = loaded.values()
    if json_output:
        entries = {entry.path: {"value": entry.value, "origin": entry.origin} for entry in values}
        print_json({"file": str(loaded.file) if loaded.file else None, "settings": entries})
        return
    output = results()
    width = max(len(entry.path) for entry in values)
    for entry in values:
        shown = json.dumps(entry.value, ensure_ascii=False)
        output.print(f"{entry.path:<{width}}  {shown}", markup=False, end="  ")
        output.print(f"[dim]{entry.origin}[/]" if entry.origin == "default" else f"[cyan]{entry.origin}[/]")


def _print_status(found: InstanceStatus) -> None:
    from rich.table import Table

    output = results()
    colour = {"up": "green", "down": "dim"}.get(found.health, "yellow")
    output.print(f"[{colour}]{found.health}[/]  {found.home}", end="")
    output.print(f"  since {found.started_at}" if found.started_at else "")
    if found.problem:
        output.print(found.problem, markup=False)
    for name, url in found.urls.items():
        output.print(f"  {name:<16} {url}")
    if found.processes:
        table = Table("role", "pid", "MiB", "listens on", box=None, pad_edge=False)
        for process in found.processes:
            table.add_row(process.role, str(process.pid), str(process.rss_mib), " ".join(process.listens))
        output.print(table)
    if found.app:
        output.print(f"app       {found.app.status}: {found.app.summary()}", markup=False)
    if found.models:
        output.print(f"models    {', '.join(found.models)}", markup=False)
    registry = found.registry
    output.print(
        f"registry  revision {registry.revision}, {len(registry.adapters)} adapter versions at {registry.path}"
    )
    output.print(
        f"versions  {', '.join(f'{name} {version}' for name, version in found.versions.items())}", markup=False
    )
    for name, value in found.authentication.items():
        output.print(f"export {name}={value}", markup=False)
