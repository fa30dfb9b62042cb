"""Checks names of arguments and sampling parameters against vLLM's own, without importing vLLM (seconds)."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from indexer.errors import InputError

# Where they stand: those of the engine, those of its OpenAI routes (tool parsers, chat templates), and of a request.
_ENGINE = {"engine/arg_utils.py": ("EngineArgs", "AsyncEngineArgs")}
_ROUTES = {"entrypoints/launchers/cli_args.py": ("BaseFrontendArgs", "FrontendArgs")}
_REQUEST = {"sampling_params.py": ("SamplingParams",)}

# Of two names whose likeness differs by less, either may have been meant.
_NEARLY = 0.1


@functools.cache
def known_arguments() -> frozenset[str]:
    """Names of vLLM's arguments, read from the source of the installed version; empty where vLLM is missing."""
    return _read(_ENGINE | _ROUTES)


@functools.cache
def known_engine_arguments() -> frozenset[str]:
    """Those of them that an engine without routes has."""
    return _read(_ENGINE)


@functools.cache
def known_sampling_parameters() -> frozenset[str]:
    """Names of vLLM's sampling parameters, likewise."""
    return _read(_REQUEST)


def _read(classes: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    folder = Path(spec.submodule_search_locations[0])
    return frozenset().union(*(_fields(folder / file, classes=names) for file, names in classes.items()))


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
    _check(names, known_arguments() if names else frozenset(), label=lambda name: f"serve.engine.{name}{place(name)}")


def check_offline(*, engine: Iterable[str], fields: Iterable[str]) -> None:
    """Refuses what an engine that is run for a command would not know; says nothing where vLLM is not installed.

    Args:
        engine: Keys of `--engine`.
        fields: Keys of `--fields`.

    Raises:
        InputError: A name is not one of the installed vLLM's.
    """
    _check(engine, known_engine_arguments(), label=lambda name: f"--engine's {name}")
    _check(fields, known_sampling_parameters(), label=lambda name: f"--fields' {name}", what="sampling parameter")


def _check(names: Iterable[str], known: frozenset[str], *, label: Callable[[str], str], what: str = "argument") -> None:
    if not known:
        return
    for name in names:
        if name not in known:
            close = _close(name.replace("-", "_"), known)
            hint = f"; did you mean {' or '.join(close)}?" if close else f"; see vLLM's {what}s."
            raise InputError(f"{label(name)} is no {what} of the installed vLLM{hint}")


def _close(name: str, known: Iterable[str]) -> list[str]:
    """The name that is most like another, and a second one that is nearly as like."""
    found = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    likeness = [difflib.SequenceMatcher(a=each, b=name).ratio() for each in found]
    return [each for each, like in zip(found, likeness, strict=True) if like > likeness[0] - _NEARLY]
