"""graftwork up | down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from deploy.local.instance import Progress, UpResult
    from deploy.local.plan import LaunchPlan
    from deploy.settings import LoadedSettings

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of standard output.")]


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(up)
    app.command()(down)


def up(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resources it would ask for, start nothing.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Start Ray, Milvus and the app; done when a real token came through every specialist."""
    loaded = cli_context(context).load()
    if dry_run:
        _dry_run(loaded, json_output=json_output)
        return
    from deploy.local.instance import FailedStartError
    from deploy.local.instance import up as start

    console = notes()
    try:
        with quiet_stdout(json_output), console.status("starting") as status:
            result = start(loaded, progress=lambda progress: _show(progress, console=console, status=status))
    except FailedStartError as error:
        for line in error.log_tail:
            console.print(f"  | {line}", style="dim", markup=False)
        console.print("Everything was stopped again; `graftwork logs` shows more.", style="dim")
        raise
    if json_output:
        print_json(_up_json(result))
    else:
        _print_up(result)


def down(context: typer.Context, json_output: JsonOption = False) -> None:
    """Stop everything of this home and verify that nothing is left; harmless when nothing runs."""
    settings = cli_context(context).load().settings
    from deploy.local.shutdown import down as stop

    console = notes()
    with quiet_stdout(json_output), console.status("stopping") as status:
        try:
            result = stop(settings, progress=status.update)
        except (KeyboardInterrupt, SystemExit):
            console.print("The app was not drained; every process was ended all the same.")
            raise
    if json_output:
        document = {
            "stopped_processes": result.processes,
            "graceful": result.graceful,
            "seconds": round(result.seconds, 2),
        }
        print_json(document)
    elif result.processes == 0:
        console.print("Nothing was running.")
    else:
        console.print(f"Stopped {result.processes} processes in {result.seconds:.1f} s; none is left.")


def _show(progress: Progress, *, console: Console, status: Status) -> None:
    from rich.markup import escape

    detail = escape(progress.detail)
    if progress.seconds is None:
        status.update(f"{progress.step}: {detail}")
        return
    console.print(f"[green]✓[/] {progress.step:<10} {detail}  [dim]{progress.seconds:.1f} s[/]")


def _up_json(result: UpResult) -> dict[str, object]:
    state = result.state
    return {
        "started": result.started,
        "seconds": round(result.seconds, 1),
        "instance": state.instance,
        "urls": state.urls,
        "ports": state.ports,
        "first_tokens_ms": {token.model: round(token.milliseconds, 1) for token in result.tokens},
        "warnings": [verdict.sentence for verdict in result.warnings],
        "authentication": _authentication(result),
    }


def _authentication(result: UpResult) -> dict[str, str]:
    from pathlib import Path

    from deploy.local.ray_environment import authentication_environment

    return authentication_environment(Path(result.state.token_path))


def _print_up(result: UpResult) -> None:
    console, output = notes(), results()
    for verdict in result.warnings:
        console.print(f"[yellow]![/] {verdict.name}: {verdict.sentence}")
    urls = result.state.urls
    if result.started:
        models = ", ".join(token.model for token in result.tokens) or "no model was asked, for want of a key"
        output.print(f"Up in {result.seconds:.0f} s: {models}")
    else:
        output.print("Up already, with these settings.")
    output.print(f"  OpenAI API   {urls['api']}/v1")
    output.print(f"  Ray          {urls['dashboard']}")
    output.print(f"  Milvus       {urls['milvus']}")
    output.print("For `ray` and `serve` commands against it:")
    exports = {**_authentication(result), "RAY_API_SERVER_ADDRESS": urls["dashboard"]}
    for name, value in exports.items():
        output.print(f"  export {name}={value}")


def _dry_run(loaded: LoadedSettings, *, json_output: bool) -> None:
    from dataclasses import asdict

    from deploy.local.preflight import examine
    from deploy.local.runtime import is_up

    with quiet_stdout(json_output):
        plan = examine(loaded.settings, own_instance_up=is_up(loaded.settings)).plan
    if json_output:
        print_json(asdict(plan))
    else:
        _print_plan(plan)


def _print_plan(plan: LaunchPlan) -> None:
    output = results()
    output.print(f"base model   {plan.base_model}")
    output.print(f"CPUs         {plan.used_cpus:g} of {plan.logical_cpus} declared to Ray")
    output.print(f"GPUs         {plan.gpus:g}")
    output.print(f"memory       about {plan.memory_mib} MiB")
    output.print(f"replicas     {', '.join(f'{count} {role}' for role, count in plan.replicas.items())}")
    output.print(f"ports        {', '.join(f'{port} ({key})' for key, port in plan.ports.items())}")
    output.print("engine")
    for name, value in plan.engine.items():
        output.print(f"  {name} = {value}")
