"""Where a setting's value came from: raw values of the settings file and the environment, with their places."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from pydantic import JsonValue
from pydantic_settings import BaseSettings, EnvSettingsSource

from indexer.environment import ENV_DELIMITER, ENV_PREFIX
from indexer.errors import InputError

# Variables of the same prefix that are no settings: the settings file itself, the mark on an instance's processes, and
# the key with which our own commands ask the app.
OTHER_VARIABLES = frozenset({"GRAFTWORK_CONFIG", "GRAFTWORK_INSTANCE", "GRAFTWORK_API_KEY"})
TEST_PREFIX = "GRAFTWORK_TEST_"
# Free dictionaries: values from the environment are read as JSON where they are JSON; some keep their keys' case.
JSON_VALUED = "serve.engine"
CASE_KEPT = "serve.engine_environment"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from.

    Attributes:
        kind: `default`, `file`, `environment`, `option` (of the command line) or `home` (a path below the home folder).
        place: `path:line` for a file, the variable's name for the environment, the option's name; else empty.
        base: Folder that a relative path in the value is relative to; None where the value is absolute already.
    """

    kind: Literal["default", "file", "environment", "option", "home"]
    place: str = ""
    base: Path | None = None

    def __str__(self) -> str:
        """The place, else the kind."""
        return self.place or self.kind


@dataclass(frozen=True, slots=True)
class RawSettings:
    """Unvalidated values as nested dictionaries, and the origin of each by dotted path."""

    values: dict[str, JsonValue] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)


def leaves(values: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Yields (dotted path, value) for everything that is not a non-empty mapping."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def merge(below: Mapping[str, JsonValue], above: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A nested dictionary in which `above` wins; mappings are merged, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def put(values: dict[str, JsonValue], path: str, value: JsonValue) -> None:
    """Sets the value at a dotted path, making the mappings on the way."""
    *parents, last = path.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            return
        values = inner
    values[last] = value


def read_file(path: Path) -> RawSettings:
    """The settings of a YAML file with the line of every key.

    Raises:
        InputError: The file cannot be read, is no YAML, is no mapping, or names a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The settings file {path} cannot be read: {error}.") from error
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        raw = RawSettings()
        if root is None:
            return raw
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"The settings file {path} holds no mapping; it must have sections such as `serve:`.")
        raw.values.update(_mapping(loader, root, file=path, prefix="", origins=raw.origins))
    except yaml.YAMLError as error:
        raise InputError(f"The settings file {path} is no valid YAML: {' '.join(str(error).split())}.") from error
    finally:
        loader.dispose()
    return raw


def _mapping(
    loader: yaml.SafeLoader, node: yaml.MappingNode, *, file: Path, prefix: str, origins: dict[str, Origin]
) -> dict[str, JsonValue]:
    loader.flatten_mapping(node)
    result: dict[str, JsonValue] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node))
        path, line = f"{prefix}{key}", key_node.start_mark.line + 1
        if key in result:
            raise InputError(f"{path} stands twice in {file}, again in line {line}; keep one of them.")
        origins[path] = Origin("file", f"{file}:{line}", file.parent)
        if isinstance(value_node, yaml.MappingNode):
            result[key] = _mapping(loader, value_node, file=file, prefix=f"{path}.", origins=origins)
        else:
            result[key] = loader.construct_object(value_node, deep=True)
    return result


def read_environment(model: type[BaseSettings]) -> RawSettings:
    """The settings in this process's environment.

    Raises:
        InputError: A variable with our prefix names no section, or a section's variable is no valid JSON.
    """
    raw = RawSettings()
    names = sorted(
        name
        for name in os.environ
        if name.upper().startswith(ENV_PREFIX) and name not in OTHER_VARIABLES and not name.startswith(TEST_PREFIX)
    )
    for name in names:
        section = name[len(ENV_PREFIX) :].split(ENV_DELIMITER)[0].lower()
        if section not in model.model_fields:
            known = ", ".join(f"{ENV_PREFIX}{known.upper()}" for known in model.model_fields)
            raise InputError(f"The environment variable {name} names no setting; names start with one of {known}.")
    try:
        source = EnvSettingsSource(model, env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_DELIMITER)
        raw.values.update(source())
    except ValueError as error:
        raise InputError(f"A {ENV_PREFIX}... environment variable cannot be read: {error}.") from error
    for name in names:
        segments = name[len(ENV_PREFIX) :].split(ENV_DELIMITER)
        path = ".".join(segments).lower()
        raw.origins[path] = Origin("environment", name, Path.cwd())
        if path.startswith(f"{CASE_KEPT}."):
            _restore_case(raw, path, segments[-1])
    for path, value in list(leaves(raw.values)):
        if path.startswith(f"{JSON_VALUED}.") and isinstance(value, str):
            put(raw.values, path, _json_or_text(value))
    return raw


def _restore_case(raw: RawSettings, path: str, key: str) -> None:
    serve = raw.values.get("serve")
    inner = serve.get("engine_environment") if isinstance(serve, dict) else None
    if isinstance(inner, dict) and key.lower() in inner:
        inner[key] = inner.pop(key.lower())
        raw.origins[f"{CASE_KEPT}.{key}"] = raw.origins.pop(path)


def _json_or_text(value: str) -> JsonValue:
    try:
        parsed: JsonValue = json.loads(value)
    except ValueError:
        return value
    return parsed


def origin_of(path: str, origins: Mapping[str, Origin]) -> Origin:
    """The origin of a dotted path: its own, else that of the nearest mapping around it, else the default."""
    while path:
        if path in origins:
            return origins[path]
        path = path.rpartition(".")[0]
    return Origin("default")
