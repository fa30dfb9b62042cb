"""graftwork search."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from indexer.passages import SearchResult

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
    collection: Annotated[str, typer.Option(help="Alias of the collection.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Passages.")] = 4,
    tenant: Annotated[str | None, typer.Option(help="Whose documents [the setting default_tenant].")] = None,
    dense_weight: Annotated[float, typer.Option(min=0, max=1, help="1 embeddings alone, 0 BM25 alone.")] = 1.0,
    section_weight: Annotated[float, typer.Option(min=0, max=1, help="Share of a passage's section.")] = 0.0,
    rerank: Annotated[
        RerankerName | None, typer.Option(help="Order the first passages anew, by words or by indexer.reranker.")
    ] = None,
    rerank_depth: Annotated[int, typer.Option(min=1, max=200, help="Passages that it looks at.")] = 20,
    rerank_weight: Annotated[float, typer.Option(min=0, max=1, help="Its share in a passage's rank.")] = 0.5,
    json_output: JsonOption = False,
) -> None:
    """Find passages in a collection, without a model."""
    settings = cli_context(context).load().settings
    from deploy.local.runtime import runtime

    tenant = tenant or settings.indexer.default_tenant
    with quiet_stdout(json_output), notes().status("searching"), runtime(settings, need_ray=False) as found:
        from indexer.rerank.mixing import Rerank
        from indexer.search import open_searcher, open_store

        store = open_store(found.indexer)
        store.locate(collection)  # one that does not exist is told before a model is loaded
        searcher = open_searcher(found.indexer, cross_encoder=rerank is RerankerName.MODEL, store=store)
        [result] = searcher.search(
            [query],
            collection=collection,
            tenant=tenant,
            k=k,
            dense_weight=dense_weight,
            section_weight=section_weight,
            rerank=Rerank(by=rerank.value, depth=rerank_depth, weight=rerank_weight) if rerank else None,
        )
    if json_output:
        print_json(asdict(result))
    else:
        _print_passages(result)


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
