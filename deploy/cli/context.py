"""What every verb shares: the options before it, settings, where text, JSON and errors go."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from deploy.settings import LoadedSettings
    from indexer.errors import GraftworkError


@dataclass(frozen=True, slots=True)
class CliContext:
    """The options that stand before the verb."""

    config: Path | None
    home: Path | None

    def load(self) -> LoadedSettings:
        """The resolved settings."""
        from deploy.settings import load_settings

        return load_settings(config=self.config, home=self.home)


def cli_context(context: typer.Context) -> CliContext:
    """The options before the verb, from Typer's context."""
    found = context.find_object(CliContext)
    return found if found is not None else CliContext(None, None)


def notes() -> Console:
    """The console for everything that is not the result: standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def results() -> Console:
    """The console for the result: standard output; wide where it is no terminal, so that pipes see whole lines."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(document: Mapping[str, object], *, out: TextIO | None = None) -> None:
    """Prints one JSON object as one line, the last on standard output, or on `out`."""
    out = out or sys.stdout
    out.write(json.dumps(document, ensure_ascii=False, default=str) + "\n")
    out.flush()


def report(error: GraftworkError) -> int:
    """Writes the error's one line to standard error; returns its exit code."""
    sys.stderr.write(f"graftwork: {' '.join(str(error).split())}\n")
    code = getattr(error, "cause_exit_code", error.exit_code)
    return int(code)


@contextmanager
def quiet_stdout(json_output: bool) -> Iterator[TextIO]:
    """Sends what libraries print to standard error for the length of the work when JSON is asked for.

    Also what child processes and C code write: the file descriptor itself is moved. Yields the standard output itself,
    for a result that cannot wait for the end of the work.
    """
    if not json_output:
        yield sys.stdout
        return
    import os

    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with os.fdopen(kept, "w", encoding="utf-8", closefd=False) as out:
            yield out
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
