"""graftwork search."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.answers import UrlOption, endpoint_of
from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption
from indexer.passages import MAX_NEIGHBOURS

if TYPE_CHECKING:
    from pydantic import JsonValue

    from deploy.settings import Settings
    from indexer.filters import Filter
    from indexer.passages import SearchResult
    from indexer.rerank.mixing import Rerank

_SNIPPET = 300


class RerankerName(StrEnum):
    """What can order passages anew, as the command line spells it."""

    MAXSIM = "maxsim"
    MODEL = "model"


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(search)


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What to look for.")],
    collection: Annotated[str | None, typer.Option(help="Alias of the collection.")] = None,
    specialist: Annotated[
        str | None, typer.Option(help="Ask its collection its way, through the running app; options change that.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Passages [4].")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose documents [the setting default_tenant].")] = None,
    dense_weight: Annotated[
        float | None, typer.Option(min=0, max=1, help="1 embeddings, 0 BM25 alone [kept with C, else 1].")
    ] = None,
    section_weight: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of a passage's section [0].")
    ] = None,
    rerank: Annotated[
        RerankerName | None, typer.Option(help="Order the first passages anew, by words or by indexer.reranker.")
    ] = None,
    rerank_depth: Annotated[int, typer.Option(min=1, max=200, help="Passages that it looks at.")] = 20,
    rerank_weight: Annotated[float, typer.Option(min=0, max=1, help="Its share in a passage's rank.")] = 0.5,
    neighbours: Annotated[
        int | None, typer.Option(min=0, max=MAX_NEIGHBOURS, help="Chunks to each side that a passage grows by [0].")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help="Conditions on documents, see the README.")
    ] = None,
    url: UrlOption = None,
    json_output: JsonOption = False,
) -> None:
    """Find passages in a collection, without a model; of a specialist's collection through the running app."""
    settings = cli_context(context).load().settings
    from indexer.errors import InputError
    from indexer.rerank.mixing import Rerank

    if (collection is None) == (specialist is None):
        raise InputError("Name what to search: either --collection or --specialist.")
    allowed = _parse(only) if only is not None else None
    order = Rerank(by=rerank.value, depth=rerank_depth, weight=rerank_weight) if rerank else None
    with quiet_stdout(json_output), notes().status("searching"):
        if specialist is not None:
            if tenant is not None:
                raise InputError("--tenant is for --collection; the app takes the tenant from the key.")
            changes: dict[str, JsonValue] = {
                "k": k,
                "dense_weight": dense_weight,
                "section_weight": section_weight,
                "rerank": asdict(order) if order else None,
                "neighbours": neighbours,
                "filter": allowed.model_dump(mode="json", by_alias=True) if allowed else None,
            }
            from deploy.cli.passages import retrieve

            result = retrieve(
                url or endpoint_of(settings),
                specialist=specialist,
                query=query,
                changes={name: value for name, value in changes.items() if value is not None},
            )
        else:
            assert collection is not None
            result = _in_collection(
                settings,
                query,
                collection=collection,
                tenant=tenant or settings.indexer.default_tenant,
                k=4 if k is None else k,
                dense_weight=dense_weight,
                section_weight=section_weight,
                rerank=order,
                neighbours=neighbours or 0,
                only=allowed,
            )
    if json_output:
        print_json(asdict(result))
    else:
        _print_passages(result)


def _parse(only: str) -> Filter:
    from indexer.errors import InputError
    from indexer.filters import parse_filter

    try:
        given: JsonValue = json.loads(only)
    except ValueError as error:
        raise InputError(f"The filter {only[:60]!r} is not JSON ({error}); see the README.") from error
    return parse_filter(given)


def _in_collection(
    settings: Settings,
    query: str,
    *,
    collection: str,
    tenant: str,
    k: int,
    dense_weight: float | None,
    section_weight: float | None,
    rerank: Rerank | None,
    neighbours: int,
    only: Filter | None,
) -> SearchResult:
    from deploy.local.runtime import runtime

    with runtime(settings, need_ray=False) as found:
        from indexer.search import open_searcher, open_store

        store = open_store(found.indexer)
        store.locate(collection)  # one that does not exist is told before a model is loaded
        by_model = rerank is not None and rerank.by == RerankerName.MODEL.value
        searcher = open_searcher(found.indexer, cross_encoder=by_model, store=store)
        [result] = searcher.search(
            [query],
            collection=collection,
            tenant=tenant,
            k=k,
            dense_weight=dense_weight,
            section_weight=section_weight,
            rerank=rerank,
            neighbours=neighbours,
            only=only,
        )
    return result


def _print_passages(result: SearchResult) -> None:
    output = results()
    if not result.passages:
        output.print(f"Nothing found in {result.collection}.")
    for number, passage in enumerate(result.passages, start=1):
        output.print(f"[{number}] {' > '.join(passage.places)}  ({passage.score:.3f})", markup=False)
        output.print(f"    {passage.uri}", markup=False, style="dim")
        output.print(f"    {' '.join(passage.text.split())[:_SNIPPET]}", markup=False)
    again = f", ordered anew in {result.rerank_ms:.0f} ms" if result.rerank_ms else ""
    output.print(
        f"{result.collection} generation {result.generation}: embedded in {result.embed_ms:.0f} ms, "
        f"searched in {result.search_ms:.0f} ms{again}",
        style="dim",
    )
