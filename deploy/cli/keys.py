"""graftwork keys create | list | revoke."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from pydantic import JsonValue

    from deploy.settings import Settings
    from serve.keys.document import KeyEntry

FILE_NAME = "keys.json"
_PERIOD = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

app = typer.Typer(help="API keys: who may call, and what each of them may take.", no_args_is_help=True)


@app.command()
def create(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(metavar="T", help="Whose documents the key may see.")],
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Model name it may call; repeat for more [all].")
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(metavar="C", help="Collection that specialists may answer from; repeat for more [all]."),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Requests within any minute.")] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Tokens within any minute, of prompts and answers together.")
    ] = None,
    streams: Annotated[int | None, typer.Option(min=1, help="Streams open at the same time.")] = None,
    max_passages: Annotated[
        int | None,
        typer.Option(min=0, help="Passages a request may ask for; 0: it may change nothing of a retrieval."),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long it is accepted: 30m, 12h, 90d or 4w [for ever].")
    ] = None,
    note: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may promote, roll back and retire adapters.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Make a key and print it, this once; only its hash is kept. A running app takes it up within a second or two."""
    settings = cli_context(context).load().settings
    from serve.keys.document import KeyLimits
    from serve.keys.file import KeyFile

    file = KeyFile(key_file_of(settings))
    now = datetime.now(UTC).replace(microsecond=0)
    token, entry = file.create(
        tenant=tenant,
        now=now,
        expires_at=None if expires_in is None else now + parse_period(expires_in),
        note=note,
        models=_distinct(model),
        collections=_distinct(collection),
        limits=KeyLimits(requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, streams=streams),
        max_passages=max_passages,
        admin=admin,
    )
    if json_output:
        print_json({"key": token.text, **_shown(entry, now=now), "file": str(file.path)})
    else:
        typer.echo(token.text)
    notes().print(
        f"Key {entry.id} of tenant {tenant} is shown this once; its hash is in {file.path}.",
        markup=False,
        soft_wrap=True,
    )
    _say_if_unused(settings, file.path)


@app.command("list")
def list_keys(context: typer.Context, json_output: JsonOption = False) -> None:
    """List the keys with what each of them may do; neither secrets nor hashes."""
    settings = cli_context(context).load().settings
    from serve.keys.file import KeyFile

    file = KeyFile(key_file_of(settings))
    now = datetime.now(UTC)
    entries = file.read().keys
    if json_output:
        print_json({"file": str(file.path), "keys": [_shown(entry, now=now) for entry in entries]})
    elif not entries:
        results().print(f"No keys in {file.path}.", markup=False)
    else:
        for entry in entries:
            results().print(_line(entry, now=now), markup=False)
    if mode := file.foreign_mode():
        notes().print(
            f"{file.path} has mode {mode}, so that other users of this machine reach it; `chmod 600` closes it.",
            markup=False,
            soft_wrap=True,
        )
    _say_if_unused(settings, file.path)


@app.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, the middle part of gw-ID-secret.")],
    json_output: JsonOption = False,
) -> None:
    """Take a key out of the file; a running app refuses it within a second or two."""
    settings = cli_context(context).load().settings
    from serve.keys.file import KeyFile

    file = KeyFile(key_file_of(settings))
    entry = file.revoke(key_id)
    if json_output:
        print_json({"id": entry.id, "tenant": entry.tenant, "action": "revoked", "file": str(file.path)})
    else:
        results().print(f"Revoked {entry.id} of tenant {entry.tenant}.", markup=False)


def key_file_of(settings: Settings) -> Path:
    """The key file of the settings, else the one in the home folder."""
    return settings.serve.keys.file or settings.home / FILE_NAME


def parse_period(text: str) -> timedelta:
    """The length of time in a text such as 30m, 12h, 90d or 4w.

    Raises:
        InputError: The text has another form.
    """
    match = _PERIOD.fullmatch(text)
    if match is None:
        from indexer.errors import InputError

        raise InputError(f"{text!r} is no length of time; write a number with m, h, d or w, such as 90d.")
    return int(match[1]) * _UNITS[match[2]]


def _distinct(names: list[str] | None) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(names)) if names else None


def _shown(entry: KeyEntry, *, now: datetime) -> dict[str, JsonValue]:
    shown: dict[str, JsonValue] = entry.model_dump(mode="json", exclude={"sha256"})
    return {**shown, "state": _state(entry, now=now)}


def _state(entry: KeyEntry, *, now: datetime) -> str:
    return "expired" if entry.expires_at is not None and now >= entry.expires_at else "active"


def _line(entry: KeyEntry, *, now: datetime) -> str:
    limits = [
        f"{limit} {name}"
        for limit, name in (
            (entry.limits.requests_per_minute, "requests/min"),
            (entry.limits.tokens_per_minute, "tokens/min"),
            (entry.limits.streams, "streams"),
            (entry.max_passages, "passages"),
        )
        if limit is not None
    ]
    parts = [
        entry.id,
        _state(entry, now=now),
        f"tenant {entry.tenant}",
        f"models {_names(entry.models)}",
        f"collections {_names(entry.collections)}",
        f"limits {', '.join(limits) or 'none'}",
        f"created {entry.created_at:%Y-%m-%d}",
        f"expires {entry.expires_at:%Y-%m-%d %H:%M %Z}" if entry.expires_at else "expires never",
        *(["admin"] if entry.admin else []),
        *([entry.note] if entry.note else []),
    ]
    return "  ".join(parts)


def _names(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names) or "none"


def _say_if_unused(settings: Settings, file: Path) -> None:
    if settings.serve.keys.file is None:
        notes().print(
            f"The app asks for no keys yet: set `serve.keys.file` to {file} and start it anew.",
            markup=False,
            soft_wrap=True,
        )
