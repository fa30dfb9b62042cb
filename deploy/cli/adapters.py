"""graftwork adapters list | show | import | export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

app = typer.Typer(help="LoRA adapters in the registry.", no_args_is_help=True)


@app.command("list")
def list_adapters(context: typer.Context, json_output: JsonOption = False) -> None:
    """List every adapter with its versions."""
    settings = cli_context(context).load().settings
    from train.registry.registry import AdapterRegistry

    registry = AdapterRegistry(settings.train.registry)
    found = registry.list()
    if json_output:
        entries = [{"name": entry.name, "versions": list(entry.versions), "stable": entry.stable} for entry in found]
        print_json({"registry": str(registry.root), "revision": registry.revision(), "adapters": entries})
        return
    if not found:
        results().print(f"No adapters in {registry.root}.")
    for entry in found:
        versions = ", ".join(f"{version}{' (stable)' if version == entry.stable else ''}" for version in entry.versions)
        results().print(f"{entry.name}  {versions}", markup=False)


@app.command()
def show(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="A", help="name, name@3 or name@stable.")],
    verify: Annotated[bool, typer.Option("--verify", help="Also read every byte and compare the hashes.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Show the manifest of a version."""
    settings = cli_context(context).load().settings
    from train.registry.registry import AdapterRegistry

    registry = AdapterRegistry(settings.train.registry)
    manifest = registry.resolve(ref)
    if verify:
        registry.verify(manifest.name, manifest.version)
    document = {**manifest.model_dump(mode="json"), "path": str(registry.path(manifest.name, manifest.version))}
    if json_output:
        print_json({**document, "verified": verify})
        return
    from rich.json import JSON

    results().print(JSON.from_data(document))
    if verify:
        notes().print("Every file has the hash of the manifest.")


@app.command("import")
def import_adapter(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with adapter_model.safetensors and its config.")
    ],
    name: Annotated[str, typer.Option(help="Name in the registry; the next version of it is published.")],
    stable: Annotated[bool, typer.Option(help="Let NAME@stable mean the new version.")] = True,
    json_output: JsonOption = False,
) -> None:
    """Publish an adapter that was trained elsewhere, after checking that it fits the base and the engine."""
    settings = cli_context(context).load().settings
    from train.base_model import resolve_base
    from train.registry import importing
    from train.registry.registry import AdapterRegistry

    with quiet_stdout(json_output), notes().status("checking the adapter against the base model"):
        manifest = importing.import_adapter(
            folder.expanduser().absolute(),
            name=name,
            find_base=lambda: resolve_base(settings.train.base_model, models_dir=settings.train.models_dir),
            registry=AdapterRegistry(settings.train.registry),
            max_rank=settings.serve.max_lora_rank,
            make_stable=stable,
        )
    if json_output:
        print_json({"adapter": manifest.ref, **manifest.model_dump(mode="json")})
    else:
        results().print(f"Published {manifest.ref}, rank {manifest.rank}.")


@app.command()
def export(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="A@V", help="name@3 or name@stable.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make; must not exist or be empty.")],
    json_output: JsonOption = False,
) -> None:
    """Copy a version out of the registry, checked, as a folder that PEFT loads."""
    settings = cli_context(context).load().settings
    from train.registry.importing import export_adapter
    from train.registry.registry import AdapterRegistry

    folder = folder.expanduser().absolute()
    manifest = export_adapter(ref, folder, registry=AdapterRegistry(settings.train.registry))
    if json_output:
        print_json(
            {"adapter": manifest.ref, "folder": str(folder), "files": sorted(path.name for path in folder.iterdir())}
        )
    else:
        results().print(f"Exported {manifest.ref} to {folder}.", markup=False)
