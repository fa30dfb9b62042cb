"""graftwork logs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deploy.cli.context import cli_context, print_json
from deploy.cli.lifecycle import JsonOption


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(logs)


def logs(
    context: typer.Context,
    component: Annotated[
        str | None, typer.Argument(help="milvus, ray, app, proxy or workers; none lists the files.")
    ] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Lines per file.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until Ctrl-C.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Show the log of one component, of the running instance or else of the last one."""
    from indexer.errors import InputError

    if follow and json_output:
        raise InputError("--follow never ends and --json is one object at the end; leave one of the two out.")
    settings = cli_context(context).load().settings
    from deploy.local import logs as log
    from deploy.local.state import instance_id, temp_dir_of

    temp_dir = temp_dir_of(instance_id(settings.home))
    files = {name: log.log_files(name, run_dir=settings.run_dir, temp_dir=temp_dir) for name in log.COMPONENTS}
    if component is None:
        if json_output:
            print_json({name: [str(file) for file in found] for name, found in files.items()})
            return
        for name, found in files.items():
            sys.stdout.write(f"{name}: {'no log' if not found else ''}\n")
            sys.stdout.writelines(f"  {file}\n" for file in found)
        return
    if component not in files:
        raise InputError(f"There is no component {component!r}; there are {', '.join(files)}.")
    shown = files[component]
    if json_output:
        print_json({str(file): log.last_lines(file, count=lines) for file in shown})
        return
    for file in shown:
        sys.stdout.write(f"==> {file} <==\n")
        sys.stdout.writelines(f"{line}\n" for line in log.last_lines(file, count=lines))
    if follow:
        sys.stdout.flush()
        for file, line in log.follow(shown):
            sys.stdout.write(f"{file.name}: {line}\n")
            sys.stdout.flush()
