"""The `graftwork` command.

    graftwork up | down | status | top | logs | doctor | settings
    graftwork index SOURCE... --collection C      graftwork search QUERY --collection C
    graftwork collections list | show | diff | rollback | prune | evaluate
    graftwork documents list | show | delete
    graftwork train DATASET --name A              graftwork adapters list | show | import | export
    graftwork specialists list | apply | remove   graftwork ask QUESTION --specialist S
    graftwork keys create | list | revoke         graftwork chat --specialist S
    graftwork demo
    graftwork collections evaluate C --questions F
    graftwork bench index SOURCE...

Modules of verbs import Ray, torch, vLLM and pymilvus inside the verbs only, so that `graftwork --help` is quick.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from deploy.cli import (
    adapters,
    answers,
    bench,
    collections,
    demo,
    documents,
    index,
    keys,
    lifecycle,
    logs,
    reports,
    search,
    specialists,
    top,
    train,
)
from deploy.cli.context import CliContext, report
from indexer.errors import GraftworkError, InputError, from_system

INTERRUPTED = 130
app = typer.Typer(
    name="graftwork",
    help="Specialise an open LLM with LoRA adapters and retrieval, and serve it by name on Ray.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            typer.echo(metadata.version("graftwork"))
        except metadata.PackageNotFoundError:
            typer.echo("not installed")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="Settings file; else graftwork.yaml here, above, or in home.")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Folder of models, registry, vectors, state [~/.graftwork].")
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Options that stand before the verb."""
    context.obj = CliContext(config, home)


for group in (lifecycle, reports, top, logs, index, search, train, answers, demo):
    group.register(app)
app.add_typer(adapters.app, name="adapters")
app.add_typer(specialists.app, name="specialists")
app.add_typer(collections.app, name="collections")
app.add_typer(documents.app, name="documents")
app.add_typer(keys.app, name="keys")
app.add_typer(bench.app, name="bench")


def run() -> None:
    """The console script: runs the command and exits; every error of ours is one line and its exit code."""
    code = _run()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Nothing runs any more that a late Ctrl-C could end.
    if code == INTERRUPTED:
        sys.stderr.write("Interrupted.\n")
    sys.exit(code)


def _run() -> int:
    try:
        code = app(standalone_mode=False)
    except GraftworkError as error:
        return report(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except TyperException as error:
        return _show_usage_error(error)
    except OSError as error:
        exit_code = report(from_system(error))
        _give_up_unwritten_output()
        return exit_code
    return code if isinstance(code, int) else 0


def _give_up_unwritten_output() -> None:
    """Drops what standard output cannot take, which Python would try again and complain about at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_usage_error(error: TyperException) -> int:
    """Shows a wrong use of the command line as Typer does by itself; returns its exit code (2)."""
    show = getattr(error, "show", None)
    if callable(show):
        show()
    else:
        sys.stderr.write(f"graftwork: {error}\n")
    return int(getattr(error, "exit_code", InputError.exit_code))


if __name__ == "__main__":
    run()
