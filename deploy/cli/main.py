"""The `graftwork` command.

    graftwork up | down | status | top | logs | doctor | settings
    graftwork index SOURCE... --collection C      graftwork search QUERY --collection C
    graftwork collections list | show | diff | rollback | prune | evaluate
    graftwork documents list | show | delete
    graftwork dataset check | stats | preview DATASET
    graftwork train DATASET --name A              graftwork adapters list | show | import | export | verify | events
    graftwork runs list | show | compare
    graftwork adapters promote | rollback | canary | pin | unpin | retire | ...
    graftwork registry check | repair
    graftwork specialists list | apply | remove   graftwork ask QUESTION --specialist S
    graftwork keys create | list | revoke         graftwork chat --specialist S
    graftwork demo
    graftwork collections evaluate C --questions F
    graftwork bench index SOURCE... | serve

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
    dataset,
    demo,
    documents,
    index,
    keys,
    lifecycle,
    logs,
    registry,
    reports,
    runs,
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
app.add_typer(registry.app, name="registry")
app.add_typer(specialists.app, name="specialists")
app.add_typer(collections.app, name="collections")
app.add_typer(documents.app, name="documents")
app.add_typer(dataset.app, name="dataset")
app.add_typer(runs.app, name="runs")
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
    except Exception as error:
        if (refusal := _refusal_of_milvus(error)) is None:
            raise
        return report(refusal)
    return code if isinstance(code, int) else 0


def _refusal_of_milvus(error: Exception) -> GraftworkError | None:
    """Our error for one that Milvus's client raised; None for any other."""
    if "pymilvus" not in sys.modules:
        return None
    from pymilvus.exceptions import MilvusException

    from indexer.store.connection import refusal_of

    return refusal_of(error) if isinstance(error, MilvusException) else None


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
