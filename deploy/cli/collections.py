"""graftwork collections list | show | diff | rollback | prune; `evaluate` is in evaluate.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import evaluate
from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from indexer.store.milvus import MilvusStore
    from indexer.store.upkeep import Difference, Overview
    from indexer.types import Generation

app = typer.Typer(help="Collections and their generations.", no_args_is_help=True)
evaluate.register(app)
CollectionArgument = Annotated[str, typer.Argument(metavar="C", help="Alias of the collection.")]
_LISTED = 20  # names per list; the counts are always whole


@contextmanager
def open_collections(context: typer.Context, *, json_output: bool) -> Iterator[MilvusStore]:
    """Yields the store of the running instance, or of a Milvus that is started for this command."""
    settings = cli_context(context).load().settings
    from deploy.local.runtime import runtime

    with quiet_stdout(json_output), runtime(settings, need_ray=False) as found:
        from indexer.search import open_store

        store = open_store(found.indexer)
        try:
            yield store
        finally:
            store.close()


@app.command("list")
def list_collections(context: typer.Context, json_output: JsonOption = False) -> None:
    """List all collections."""
    with open_collections(context, json_output=json_output) as store:
        from indexer.store.upkeep import overview

        found = [overview(store, alias) for alias in store.aliases()]
    if json_output:
        print_json({"collections": [overview_json(entry) for entry in found]})
        return
    if not found:
        results().print("No collections.")
    for entry in found:
        results().print(_line(entry), markup=False)


@app.command()
def show(context: typer.Context, collection: CollectionArgument, json_output: JsonOption = False) -> None:
    """Show the generations of a collection, what shaped them, and who writes."""
    with open_collections(context, json_output=json_output) as store:
        from indexer.store.upkeep import overview

        found = overview(store, collection)
    if json_output:
        print_json(overview_json(found))
        return
    output = results()
    output.print(_line(found), markup=False)
    for made, chunks in found.chunks:
        output.print(f"generation {made.number}  {_state(made, found.live)}, {chunks} chunks", markup=False)
        identity = made.identity
        output.print(f"    embedder {identity.embedder}, {identity.dimension} dimensions", markup=False)
        output.print(f"    chunker {identity.chunker or 'not recorded'}, schema {identity.schema}", markup=False)
        output.print(f"    parsers {' '.join(identity.parsers) or 'not recorded'}", markup=False)
        if made.verified is not None:
            output.print(f"    verified {made.verified.at}: {_figures(made)}", markup=False)
        if made.advised is not None:
            weights = f"dense_weight {made.advised.dense:g}, section_weight {made.advised.section:g}"
            output.print(f"    searched with {weights} by who names none", markup=False)
    for writer in found.writers:
        output.print(writer.describe(), markup=False)


@app.command()
def diff(
    context: typer.Context,
    collection: CollectionArgument,
    left: Annotated[str | None, typer.Argument(metavar="[gA]", help="Such as g1 [the one before the other].")] = None,
    right: Annotated[str | None, typer.Argument(metavar="[gB]", help="Such as g2 [the live one].")] = None,
    json_output: JsonOption = False,
) -> None:
    """Compare the documents of two generations."""
    from indexer.names import generation_number

    numbers = [None if name is None else generation_number(name) for name in (left, right)]
    with open_collections(context, json_output=json_output) as store:
        from indexer.store import upkeep

        found = upkeep.diff(store, collection, left=numbers[0], right=numbers[1])
    if json_output:
        print_json(_diff_json(found))
    else:
        _print_diff(found)


@app.command()
def rollback(
    context: typer.Context,
    collection: CollectionArgument,
    to: Annotated[int | None, typer.Option(min=1, help="Number [the last complete one before the live one].")] = None,
    json_output: JsonOption = False,
) -> None:
    """Let readers see an earlier generation again; `index` refuses to go forward to the one that was left."""
    with open_collections(context, json_output=json_output) as store:
        from indexer.store import upkeep

        before, now = upkeep.rollback(store, collection, to=to)
    from indexer.store.generation import identity_differences

    differs = identity_differences(before.identity, now.identity)
    if json_output:
        print_json({"collection": collection, "before": before.number, "live": now.number, "identity": list(differs)})
        return
    results().print(f"{collection}: readers see generation {now.number}, before {before.number}.", markup=False)
    if differs:
        notes().print(f"Set the settings to match it: {'; '.join(differs)}.", markup=False)


@app.command()
def prune(
    context: typer.Context,
    collection: CollectionArgument,
    keep: Annotated[int, typer.Option(min=0, help="Complete generations to keep besides the live one.")] = 1,
    json_output: JsonOption = False,
) -> None:
    """Drop old generations and unfinished builds; never the live one, and not while somebody writes."""
    with open_collections(context, json_output=json_output) as store:
        from indexer.store import upkeep

        dropped = upkeep.prune(store, collection, keep=keep)
    numbers = [made.number for made in dropped]
    if json_output:
        print_json({"collection": collection, "dropped": numbers})
    else:
        named = ", ".join(map(str, numbers))
        results().print(f"{collection}: dropped {f'generation {named}' if numbers else 'nothing'}.", markup=False)


def overview_json(found: Overview) -> dict[str, object]:
    """A collection as JSON values."""
    from dataclasses import asdict

    return {
        "collection": found.alias,
        "live": found.live.number if found.live else None,
        "generations": [
            {
                "generation": made.number,
                "physical": made.physical,
                "live": made == found.live,
                "chunks": chunks,
                **asdict(made.identity),
                "verified": asdict(made.verified) if made.verified else None,
                "rolled_back": made.rolled_back,
                "advised": asdict(made.advised) if made.advised else None,
            }
            for made, chunks in found.chunks
        ],
        "writers": [asdict(writer) for writer in found.writers],
    }


def _line(found: Overview) -> str:
    writing = f", written by process {found.writers[0].pid} on {found.writers[0].host}" if found.writers else ""
    if found.live is None:
        return f"{found.alias}: its first run is not complete{writing}"
    chunks = next(chunks for made, chunks in found.chunks if made == found.live)
    others = len(found.chunks) - 1
    return f"{found.alias}: generation {found.live.number}, {chunks} chunks, {others} other generations{writing}"


def _state(made: Generation, live: Generation | None) -> str:
    if made == live:
        return "live"
    if made.verified is None:
        return "not complete"
    return "rolled back" if made.rolled_back else "complete"


def _figures(made: Generation) -> str:
    verified = made.verified
    assert verified is not None
    recall = f"recall {verified.recall:.3f} of {verified.sample} searches" if verified.recall is not None else "empty"
    hits = f", {verified.hits:.3f} of {verified.questions} golden questions" if verified.hits is not None else ""
    return f"{verified.chunks} chunks, {recall}{hits}"


def _diff_json(found: Difference) -> dict[str, object]:
    lists = {
        "only_left": found.only_left,
        "only_right": found.only_right,
        "changed": found.changed,
        "recut": found.recut,
    }
    return {
        "collection": found.left.alias,
        "left": found.left.number,
        "right": found.right.number,
        "identity": list(found.identity),
        "same": found.same,
        "chunks": {"left": found.chunks[0], "right": found.chunks[1]},
        **{
            name: {
                "count": len(keys),
                "first": [{"tenant": tenant, "document": document} for tenant, document in keys[:_LISTED]],
            }
            for name, keys in lists.items()
        },
    }


def _print_diff(found: Difference) -> None:
    output, left, right = results(), found.left.number, found.right.number
    output.print(f"{found.left.alias}: generation {left} with {right}, {found.chunks[0]} and {found.chunks[1]} chunks")
    for difference in found.identity:
        output.print(f"identity    {difference}", markup=False)
    lists = {
        f"only in {left}": found.only_left,
        f"only in {right}": found.only_right,
        "changed": found.changed,
        "cut anew": found.recut,
    }
    for name, keys in lists.items():
        output.print(f"{name:<11} {len(keys)} documents")
        for tenant, document in keys[:_LISTED]:
            output.print(f"    {document}  ({tenant})", markup=False)
    output.print(f"{'same':<11} {found.same} documents")
