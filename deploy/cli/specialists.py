"""graftwork specialists list | apply | remove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption
from deploy.cli.served import wait_until_served

if TYPE_CHECKING:
    from deploy.settings import Settings
    from serve.specialist import Specialist
    from train.registry.registry import AdapterRegistry

app = typer.Typer(help="Specialists: the model names that clients call.", no_args_is_help=True)


@app.command("list")
def list_specialists(context: typer.Context, json_output: JsonOption = False) -> None:
    """List the specialists of the registry."""
    settings = cli_context(context).load().settings
    from serve.specialist import parse_specialist
    from train.registry.registry import AdapterRegistry

    registry = AdapterRegistry(settings.train.registry)
    documents = registry.read_specialists()
    if json_output:
        entries = [json.loads(document) for _, document in sorted(documents.items())]
        print_json({"registry": str(registry.root), "revision": registry.revision(), "specialists": entries})
        return
    if not documents:
        results().print(f"No specialists in {registry.root}; the base answers as {settings.serve.base_name!r}.")
    for name, document in sorted(documents.items()):
        results().print(_describe(parse_specialist(document, source=f"specialist {name!r}")), markup=False)


@app.command("apply")
def apply_specialist(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON document of one specialist.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show, write nothing.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Check a specialist and put it into the registry; returns when the running app serves it."""
    settings = cli_context(context).load().settings
    from indexer.errors import NotFoundError
    from serve.specialist import parse_specialist
    from train.registry import applying
    from train.registry.registry import AdapterRegistry

    file = file.expanduser()
    try:
        document = file.read_bytes()
    except OSError as error:
        raise NotFoundError(f"The specialist document {file} cannot be read: {error.strerror}.") from error
    specialist = parse_specialist(document, source=str(file))
    registry = AdapterRegistry(settings.train.registry)
    with quiet_stdout(json_output), notes().status("checking base, adapters and collection"):
        check_specialist(specialist, settings=settings, registry=registry)
    before = registry.read_specialists().get(specialist.name)
    action = "unchanged" if before == document else "created" if before is None else "replaced"
    if not dry_run and before != document:
        applying.write_specialist(specialist.name, document, registry=registry)
    served = None if dry_run else wait_until_served(settings, registry.revision())
    if json_output:
        print_json(
            {
                "specialist": specialist.name,
                "action": action,
                "dry_run": dry_run,
                "revision": registry.revision(),
                "served": served,
            }
        )
    else:
        would = "would be " if dry_run else ""
        results().print(f"{_describe(specialist)}: {would}{action}", markup=False)


@app.command("remove")
def remove_specialist(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the specialist.")],
    json_output: JsonOption = False,
) -> None:
    """Take a specialist out of the registry; returns when the running app no longer serves it."""
    settings = cli_context(context).load().settings
    from train.registry import applying
    from train.registry.registry import AdapterRegistry

    registry = AdapterRegistry(settings.train.registry)
    applying.remove_specialist(name, registry=registry)
    served = wait_until_served(settings, registry.revision())
    if json_output:
        print_json({"specialist": name, "action": "removed", "revision": registry.revision(), "served": served})
    else:
        results().print(f"Removed {name}.", markup=False)


def check_specialist(specialist: Specialist, *, settings: Settings, registry: AdapterRegistry) -> None:
    """Checks what a specialist names: base, name, adapters (there, for this base, loadable), reranker, collection.

    Raises:
        InputError: The base is another one, the name is the base's, no reranker is set, or an adapter cannot be served.
        NotFoundError: An adapter version or the collection does not exist.
    """
    from indexer.errors import InputError
    from train.base_model import resolve_base
    from train.registry.checks import check_manifest, check_verified

    base_name = settings.serve.base_name
    if specialist.base != base_name:
        raise InputError(f"The specialist grafts onto base {specialist.base!r}, but {base_name!r} is served.")
    if specialist.name == base_name:
        raise InputError(f"{specialist.name!r} is the name of the base model; give the specialist another one.")
    rerank = specialist.retrieval.rerank
    if rerank is not None and rerank.by == "model" and settings.indexer.reranker is None:
        raise InputError(
            f"The specialist {specialist.name!r} reranks by a model, but the setting indexer.reranker names none; "
            "set it, or take retrieval.rerank out."
        )
    if specialist.adapter_refs:
        base = resolve_base(settings.train.base_model, models_dir=settings.train.models_dir)
        for ref in specialist.adapter_refs:
            manifest = registry.resolve(ref)
            check_manifest(manifest, max_rank=settings.serve.max_lora_rank, base=base)
            if not settings.serve.allow_unverified:
                check_verified(manifest)
    if specialist.collection is not None:
        _check_collection(specialist.collection, settings=settings)


def _check_collection(collection: str, *, settings: Settings) -> None:
    from deploy.local.runtime import runtime

    with runtime(settings, need_ray=False) as found:
        from indexer.search import open_store

        store = open_store(found.indexer)
        try:
            store.locate(collection)
        finally:
            store.close()


def _describe(specialist: Specialist) -> str:
    parts = [specialist.base]
    if isinstance(specialist.adapter, list):
        parts.append(" or ".join(f"{arm.ref} (weight {arm.weight})" for arm in specialist.adapter))
    elif specialist.adapter:
        parts.append(specialist.adapter)
    if specialist.collection:
        parts.append(f"collection {specialist.collection}")
    return f"{specialist.name} = {' + '.join(parts)}"
