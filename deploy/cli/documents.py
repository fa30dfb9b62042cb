"""graftwork documents list | show | delete | failed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from deploy.cli.collections import CollectionArgument, open_collections
from deploy.cli.context import cli_context, notes, print_json, results
from deploy.cli.lifecycle import JsonOption

app = typer.Typer(help="Documents of a collection.", no_args_is_help=True)
TenantOption = Annotated[str | None, typer.Option(help="Whose documents [the setting default_tenant].")]


@app.command("list")
def list_documents(
    context: typer.Context,
    collection: CollectionArgument,
    tenant: TenantOption = None,
    prefix: Annotated[str, typer.Option(help="Only documents whose id begins so.")] = "",
    json_output: JsonOption = False,
) -> None:
    """List documents with their chunks, hashes and addresses."""
    owner = _tenant(context, tenant)
    with open_collections(context, json_output=json_output) as store:
        made = store.locate(collection)
        found = store.list_documents(made.physical, tenant=owner, prefix=prefix)
    if json_output:
        documents = [{**asdict(document), "complete": document.is_complete} for document in found]
        print_json({"collection": collection, "generation": made.number, "tenant": owner, "documents": documents})
        return
    for document in found:
        part = "" if document.is_complete else f" of {document.chunk_count}"
        line = f"{document.document_id}  {document.rows}{part} chunks  {' '.join(document.hashes)}  {document.uri}"
        results().print(line, markup=False)
    notes().print(f"{len(found)} documents of tenant {owner} in {made.physical}.", markup=False)


@app.command()
def failed(
    context: typer.Context, collection: CollectionArgument, tenant: TenantOption = None, json_output: JsonOption = False
) -> None:
    """List documents that failed and are neither mended nor gone; `index --retry-failed` tries them again."""
    owner = _tenant(context, tenant)
    with open_collections(context, json_output=json_output) as store:
        letters = store.read_letters(collection, tenant=owner)
    if json_output:
        print_json({"collection": collection, "tenant": owner, "failed": [asdict(letter) for letter in letters]})
        return
    for letter in letters:
        results().print(f"{letter.uri}  {letter.stage}, {letter.attempts} times since {letter.first}", markup=False)
        results().print(f"    {letter.reason}", markup=False)
    notes().print(f"{len(letters)} documents of tenant {owner} in {collection} have failed.", markup=False)


@app.command()
def show(
    context: typer.Context,
    collection: CollectionArgument,
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="Id, as `documents list` gives it.")],
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Print a document's chunks with their headings and their span in its text."""
    from indexer.errors import NotFoundError

    owner = _tenant(context, tenant)
    with open_collections(context, json_output=json_output) as store:
        made = store.locate(collection)
        chunks = store.read_document(made.physical, document, tenant=owner)
    if not chunks:
        raise NotFoundError(
            f"Tenant {owner!r} has no document {document!r} in {collection!r}; `graftwork documents list {collection}` "
            "shows what there is."
        )
    first = chunks[0]
    if json_output:
        print_json(
            {
                "collection": collection,
                "generation": made.number,
                "tenant": owner,
                "document": document,
                "title": first.title,
                "uri": first.uri,
                "chunks": [
                    {name: value for name, value in asdict(chunk).items() if name not in ("title", "uri")}
                    for chunk in chunks
                ],
            }
        )
        return
    output = results()
    output.print(f"{first.title}  {first.uri}", markup=False)
    for chunk in chunks:
        page = f", page {chunk.page}" if chunk.page else ""
        path = " > ".join(chunk.heading_path)
        output.print(f"\n[{chunk.ordinal}] {path}  ({chunk.start} to {chunk.end}{page})", markup=False, style="dim")
        output.print(chunk.text, markup=False)


@app.command()
def delete(
    context: typer.Context,
    collection: CollectionArgument,
    documents: Annotated[list[str], typer.Argument(metavar="DOCUMENT...", help="Ids.")],
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Delete documents of a tenant; one whose file is still there comes back with the next `index` of its folder."""
    owner = _tenant(context, tenant)
    wanted = list(dict.fromkeys(documents))
    with open_collections(context, json_output=json_output) as store:
        from indexer.store.upkeep import delete_documents

        chunks = delete_documents(store, collection, wanted, tenant=owner)
    if json_output:
        print_json({"collection": collection, "tenant": owner, "deleted": wanted, "chunks": chunks})
    else:
        results().print(f"Deleted {len(wanted)} documents, {chunks} chunks, of tenant {owner}.", markup=False)
    notes().print("A document whose file is still there comes back with the next `index` of its folder.")


def _tenant(context: typer.Context, tenant: str | None) -> str:
    return tenant or cli_context(context).load().settings.indexer.default_tenant
