"""Checks the names under `serve.engine` against vLLM's own arguments, without importing vLLM (seconds)."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

from indexer.errors import InputError

# Where they stand: those of the engine, and those of its OpenAI routes (tool parsers, chat templates).
_CLASSES = {
    "engine/arg_utils.py": ("EngineArgs", "AsyncEngineArgs"),
    "entrypoints/launchers/cli_args.py": ("BaseFrontendArgs", "FrontendArgs"),
}

# Of two names whose likeness differs by less, either may have been meant.
_NEARLY = 0.1


@functools.cache
def known_arguments() -> frozenset[str]:
    """Names of vLLM's arguments, read from the source of the installed version; empty where vLLM is missing."""
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    folder = Path(spec.submodule_search_locations[0])
    return frozenset().union(*(_fields(folder / file, classes=classes) for file, classes in _CLASSES.items()))


def _fields(source: Path, *, classes: tuple[str, ...]) -> frozenset[str]:
    if not source.is_file():
        return frozenset()
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return frozenset(
        statement.target.id
        for definition in tree.body
        if isinstance(definition, ast.ClassDef) and definition.name in classes
        for statement in definition.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and not statement.target.id.startswith("_")
    )


def check_engine_arguments(names: Iterable[str], *, place: Callable[[str], str]) -> None:
    """Refuses a name that vLLM does not know; says nothing where vLLM is not installed.

    Args:
        names: Keys of `serve.engine`.
        place: Gives " (file:line)" or "" for a key.

    Raises:
        InputError: A name is not an argument of the installed vLLM.
    """
    names = list(names)
    known = known_arguments() if names else frozenset()
    if not known:
        return
    for name in names:
        if name not in known:
            close = _close(name.replace("-", "_"), known)
            hint = f"; did you mean {' or '.join(close)}?" if close else "; see vLLM's arguments."
            raise InputError(f"serve.engine.{name}{place(name)} is no argument of the installed vLLM{hint}")


def _close(name: str, known: Iterable[str]) -> list[str]:
    """The name that is most like another, and a second one that is nearly as like."""
    found = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    likeness = [difflib.SequenceMatcher(a=each, b=name).ratio() for each in found]
    return [each for each, like in zip(found, likeness, strict=True) if like > likeness[0] - _NEARLY]
