"""graftwork adapters: list, show, import, export, merge, verify, events, and the verbs that change what serves."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption
from deploy.cli.served import wait_until_served

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.settings import Settings
    from train.base_model import BaseModelFiles
    from train.registry.index import AdapterEntry, Event
    from train.registry.manifest import EngineRecord
    from train.registry.registry import AdapterRegistry
    from train.registry.verbs import Outcome

_SHOWN = 20

app = typer.Typer(help="LoRA adapters in the registry.", no_args_is_help=True)
VersionArgument = Annotated[str, typer.Argument(metavar="A@V", help="Name and number of a version, such as name@3.")]


@app.command("list")
def list_adapters(context: typer.Context, json_output: JsonOption = False) -> None:
    """List every adapter with its versions."""
    settings = cli_context(context).load().settings
    from train.registry import verbs

    registry = _registry(settings)
    index = registry.index()
    found = sorted((name, entry) for name, entry in index.adapters.items() if entry.versions)
    if json_output:
        entries = [verbs.describe(name, entry) for name, entry in found]
        print_json({"registry": str(registry.root), "revision": index.revision, "adapters": entries})
        return
    if not found:
        results().print(f"No adapters in {registry.root}.", markup=False)
    for name, entry in found:
        results().print(f"{name}  {_versions(entry)}", markup=False)


@app.command()
def show(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="A", help="name, name@3 or name@stable.")],
    verify: Annotated[bool, typer.Option("--verify", help="Also read every byte and compare the hashes.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Show the manifest of a version."""
    settings = cli_context(context).load().settings
    registry = _registry(settings)
    manifest = registry.resolve(ref)
    if verify:
        registry.verify(manifest.name, manifest.version)
    document = {**manifest.model_dump(mode="json"), "path": registry.where(manifest.name, manifest.version)}
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
    engine_check: Annotated[
        bool, typer.Option("--engine-check", help="Load it in vLLM first, and hold that against PEFT.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Publish an adapter that was trained elsewhere, after checking that it fits the base and the engine."""
    settings = cli_context(context).load().settings
    from train.base_model import resolve_base
    from train.registry import importing

    folder = folder.expanduser().absolute()
    check = partial(_check_in_engine, folder, settings=settings) if engine_check else None
    with quiet_stdout(json_output), notes().status("checking the adapter against the base model"):
        manifest = importing.import_adapter(
            folder,
            name=name,
            find_base=lambda: resolve_base(settings.train.base_model, models_dir=settings.train.models_dir),
            registry=_registry(settings),
            max_rank=settings.serve.max_lora_rank,
            make_stable=stable,
            check=check,
        )
    if json_output:
        print_json({"adapter": manifest.ref, **manifest.model_dump(mode="json")})
    else:
        results().print(f"Published {manifest.ref}, rank {manifest.rank}.")


def _check_in_engine(folder: Path, base: BaseModelFiles, *, settings: Settings) -> EngineRecord:
    from deploy.local.runtime import runtime
    from train.engine.foreign import check_foreign

    with runtime(settings, need_milvus=False):
        return check_foreign(folder, base=base, settings=settings.train)


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

    folder = folder.expanduser().absolute()
    manifest = export_adapter(ref, folder, registry=_registry(settings))
    if json_output:
        print_json(
            {"adapter": manifest.ref, "folder": str(folder), "files": sorted(path.name for path in folder.iterdir())}
        )
    else:
        results().print(f"Exported {manifest.ref} to {folder}.", markup=False)


@app.command()
def merge(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="A@V", help="name@3 or name@stable.")],
    into: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to make; must not exist or be empty.")],
    json_output: JsonOption = False,
) -> None:
    """Write a version merged into its base as a checkpoint that vLLM and transformers load without adapters."""
    settings = cli_context(context).load().settings
    from train.base_model import resolve_base
    from train.registry.merging import merge_adapter

    into = into.expanduser().absolute()
    with quiet_stdout(json_output), notes().status("merging the adapter into the base model"):
        record = merge_adapter(
            ref,
            into,
            registry=_registry(settings),
            find_base=lambda: resolve_base(settings.train.base_model, models_dir=settings.train.models_dir),
        )
    if json_output:
        print_json({"folder": str(into), **record.model_dump(mode="json")})
    else:
        size = sum(file.bytes for file in record.files.values()) / 2**20
        results().print(f"Merged {record.adapter} into {into}, {record.dtype}, {size:.0f} MiB.", markup=False)


@app.command()
def promote(context: typer.Context, ref: VersionArgument, json_output: JsonOption = False) -> None:
    """Let NAME@stable mean a version; the former one is remembered. Returns when the running app serves it."""
    from train.registry import verbs

    _run(context, lambda registry: verbs.promote(registry, ref), json_output=json_output)


@app.command()
def rollback(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="A", help="Name of the adapter.")],
    json_output: JsonOption = False,
) -> None:
    """Let NAME@stable mean the version that was stable before. Returns when the running app serves it."""
    from train.registry import verbs

    _run(context, lambda registry: verbs.rollback(registry, name), json_output=json_output)


@app.command()
def canary(
    context: typer.Context,
    ref: VersionArgument,
    percent: Annotated[int, typer.Option(help="Share of the users, of a hundred; 0 ends the canary.")],
    json_output: JsonOption = False,
) -> None:
    """Let NAME@stable mean a version for a share of the users; a user stays on the side that they are on."""
    from train.registry import verbs

    _run(context, lambda registry: verbs.canary(registry, ref, percent=percent), json_output=json_output)


@app.command()
def pin(context: typer.Context, ref: VersionArgument, json_output: JsonOption = False) -> None:
    """Let every replica keep a version loaded, from its start on."""
    from train.registry import verbs

    _run(context, lambda registry: verbs.pin(registry, ref), json_output=json_output)


@app.command()
def unpin(context: typer.Context, ref: VersionArgument, json_output: JsonOption = False) -> None:
    """Let replicas load and unload a version as it is used."""
    from train.registry import verbs

    _run(context, lambda registry: verbs.unpin(registry, ref), json_output=json_output)


@app.command()
def retire(context: typer.Context, ref: VersionArgument, json_output: JsonOption = False) -> None:
    """Serve a version no more; refused while it is stable, a canary or named by a specialist. Its files stay."""
    from train.registry import verbs

    _run(context, lambda registry: verbs.retire(registry, ref), json_output=json_output)


@app.command()
def verify(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="A@V", help="name@3, name@stable or name.")],
    json_output: JsonOption = False,
) -> None:
    """Read every byte of a version, hold it against its manifest, and see that the base can serve it."""
    settings = cli_context(context).load().settings
    from train.base_model import resolve_base
    from train.registry import verbs

    with quiet_stdout(json_output), notes().status("reading every byte"):
        manifest = verbs.verify(
            _registry(settings),
            ref,
            base=resolve_base(settings.train.base_model, models_dir=settings.train.models_dir),
            max_rank=settings.serve.max_lora_rank,
            allow_unverified=settings.serve.allow_unverified,
        )
    if json_output:
        print_json({"adapter": manifest.ref, "verified": True, "bytes": sum(f.bytes for f in manifest.files.values())})
    else:
        results().print(f"{manifest.ref} is whole, and {manifest.base_model} can serve it.", markup=False)


@app.command()
def events(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[A]", help="Name of an adapter [all].")] = None,
    json_output: JsonOption = False,
) -> None:
    """List what was changed, when and by whom, the latest last; the registry keeps the last 200 changes."""
    settings = cli_context(context).load().settings
    from train.registry import verbs

    registry = _registry(settings)
    found = verbs.events(registry, name=name)
    if json_output:
        print_json({"registry": str(registry.root), "events": [event.model_dump(mode="json") for event in found]})
        return
    if not found:
        results().print(f"No events in {registry.root}.", markup=False)
    for event in found:
        results().print(event_line(event), markup=False)


def event_line(event: Event) -> str:
    """One event in one line."""
    about = event.adapter or event.specialist or "registry"
    what = f"{event.before or 'none'} -> {event.after or 'none'}"
    return f"{event.revision}  {event.at:%Y-%m-%d %H:%M:%S}  {event.who}  {event.verb}  {about}  {what}"


def _run(context: typer.Context, verb: Callable[[AdapterRegistry], Outcome], *, json_output: bool) -> None:
    from train.registry import verbs

    settings = cli_context(context).load().settings
    outcome = verb(_registry(settings))
    served = wait_until_served(settings, outcome.revision)
    if json_output:
        event = None if outcome.event is None else outcome.event.model_dump(mode="json")
        document = {**verbs.describe(outcome.name, outcome.entry), "revision": outcome.revision}
        print_json({**document, "event": event, "served": served})
    else:
        unchanged = " (unchanged)" if outcome.event is None else ""
        results().print(f"{outcome.name}  {_versions(outcome.entry)}{unchanged}", markup=False)


def _registry(settings: Settings) -> AdapterRegistry:
    from train.registry.registry import AdapterRegistry

    return AdapterRegistry(
        settings.train.registry,
        cache_dir=settings.serve.adapter_cache_dir,
        cache_bytes=settings.serve.adapter_cache_bytes,
    )


def _versions(entry: AdapterEntry) -> str:
    """Every version with what it is; of many the last ones and those that are something."""
    roles: dict[int, list[str]] = {}
    for role, versions in (("stable", (entry.stable,)), ("pinned", entry.pinned), ("retired", entry.retired)):
        for version in versions:
            if version is not None:
                roles.setdefault(version, []).append(role)
    if entry.canary is not None:
        roles.setdefault(entry.canary.version, []).append(f"canary, {entry.canary.percent}%")
    shown = set(entry.versions[-_SHOWN:]) | {version for version in roles if version not in entry.retired}
    words = [
        f"{version} ({', '.join(roles[version])})" if version in roles else str(version) for version in sorted(shown)
    ]
    left_out = len(entry.versions) - len(shown)
    return (f"{left_out} more, " if left_out else "") + ", ".join(words)
