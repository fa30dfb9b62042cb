"""graftwork registry check | repair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from train.registry.registry import AdapterRegistry
    from train.registry.repair import Problem

app = typer.Typer(help="The registry as a whole: what its index says, and what lies in it.", no_args_is_help=True)
SettledOption = Annotated[
    int,
    typer.Option(
        "--settled-minutes", min=0, help="What changed less than this ago may be in the making, and is left alone."
    ),
]


@app.command()
def check(context: typer.Context, settled_minutes: SettledOption = 60, json_output: JsonOption = False) -> None:
    """Hold the index against what lies in the registry; reads every manifest. Exit code 3: there are problems."""
    from datetime import timedelta

    from train.registry import repair as repairing

    registry = _registry(context)
    with quiet_stdout(json_output), notes().status("reading every manifest"):
        problems = repairing.check(registry, settled=timedelta(minutes=settled_minutes))
    if json_output:
        print_json({"registry": str(registry.root), "problems": [_described(problem) for problem in problems]})
    elif not problems:
        results().print(f"The index of {registry.root} and what lies there agree.", markup=False)
    for problem in problems if not json_output else ():
        mend = f"; `repair` would {problem.mend}" if problem.mend is not None else ""
        results().print(f"{problem.kind}: {problem.text}{mend}.", markup=False)
    if problems:
        raise typer.Exit(3)


@app.command()
def repair(context: typer.Context, settled_minutes: SettledOption = 60, json_output: JsonOption = False) -> None:
    """Mend what can be mended without losing anything, and say what was done. Exit code 3: something is left."""
    from datetime import timedelta

    from train.registry import repair as repairing

    registry = _registry(context)
    with quiet_stdout(json_output), notes().status("reading every manifest"):
        mended, left = repairing.repair(registry, settled=timedelta(minutes=settled_minutes))
    if json_output:
        print_json(
            {
                "registry": str(registry.root),
                "revision": registry.revision(),
                "mended": [_described(problem) for problem in mended],
                "left": [_described(problem) for problem in left],
            }
        )
    else:
        for problem in mended:
            results().print(f"mended: {problem.text}: {problem.mend}.", markup=False)
        for problem in left:
            results().print(f"left as it is: {problem.text}.", markup=False)
        if not mended and not left:
            results().print(f"Nothing is to be mended in {registry.root}.", markup=False)
    if left:
        raise typer.Exit(3)


def _described(problem: Problem) -> dict[str, object]:
    return {"kind": problem.kind, "what": problem.what, "text": problem.text, "mend": problem.mend}


def _registry(context: typer.Context) -> AdapterRegistry:
    settings = cli_context(context).load().settings
    from train.registry.registry import AdapterRegistry

    return AdapterRegistry(settings.train.registry)
