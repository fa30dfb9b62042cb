"""The settings file: one section per package, and where every value came from.

    graftwork settings            prints the resolved values and their origins

Searched in this order, the first that exists is the only one read: --config, $GRAFTWORK_CONFIG, graftwork.yaml in the
working folder or one above it, <home>/graftwork.yaml. Environment variables win over the file:
GRAFTWORK_SERVE__PORT=9000 is serve.port, GRAFTWORK_SERVE__ENGINE__MAX_MODEL_LEN=2048 is serve.engine.max_model_len.
"""

from __future__ import annotations

import difflib
import os
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, JsonValue, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from deploy.contradictions import find_contradictions
from deploy.engine_arguments import check_engine_arguments
from deploy.origins import Origin, RawSettings, leaves, merge, origin_of, put, read_environment, read_file
from deploy.section import DeploySettings
from indexer.errors import InputError, NotFoundError
from indexer.settings import IndexerSettings
from serve.settings import ServeSettings
from train.settings import HOME_FOLDERS, TrainSettings

FILE_NAME = "graftwork.yaml"
DEFAULT_HOME = "~/.graftwork"
# Paths that live below the home folder unless set: dotted path -> folder name.
HOME_PATHS = {
    **{f"train.{field}": folder for field, folder in HOME_FOLDERS.items()},
    "deploy.milvus_data": "milvus",
    "deploy.run_dir": "run",
}
# Text settings that may be a folder: resolved like a path where they are written like one.
LOCATIONS = frozenset({"train.base_model", "indexer.embedder", "indexer.reranker"})
# Folders that may as well be a place in a bucket.
PLACES = frozenset({"train.registry"})
_SECRET_NAME = re.compile(r"(^|_)(token|passwd|password|api_?key|access_key|credentials?)$|secret", re.IGNORECASE)
MASK = "**********"


class Settings(BaseSettings):
    """Everything that can be set, a section per package."""

    model_config = SettingsConfigDict(extra="forbid")

    home: Path = Field(Path(DEFAULT_HOME), description="Folder of models, registry, runs, vectors and state.")
    indexer: IndexerSettings = Field(
        default_factory=IndexerSettings, description="Documents, chunks, embedder, Milvus."
    )
    train: TrainSettings = Field(default_factory=TrainSettings, description="Base model, adapters and their training.")
    serve: ServeSettings = Field(default_factory=ServeSettings, description="The serving graph and its engine.")
    deploy: DeploySettings = Field(default_factory=DeploySettings, description="What runs on this machine.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Takes what `load_settings` merged and nothing else, so that every value has one known origin."""
        return (init_settings,)

    @property
    def run_dir(self) -> Path:
        """Folder of the instance's state file, lock, token and logs."""
        return self.deploy.run_dir or self.home / "run"

    @property
    def milvus_data(self) -> Path:
        """Data folder of the milvus-lite server."""
        return self.deploy.milvus_data or self.home / "milvus"


@dataclass(frozen=True, slots=True)
class SettingValue:
    """One resolved value for printing: dotted path, JSON value with secrets masked, origin."""

    path: str
    value: JsonValue
    origin: str


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Validated settings and where they came from.

    Attributes:
        settings: The settings.
        file: The settings file that was read; None where none was found.
        origins: Origin by dotted path, of values and of the mappings around them.
        given: Dotted paths that have a value of their own; all others have their default.
    """

    settings: Settings
    file: Path | None
    origins: Mapping[str, Origin]
    given: frozenset[str] = frozenset()

    def values(self) -> tuple[SettingValue, ...]:
        """Every resolved value, in the order of the sections."""
        dumped: dict[str, JsonValue] = self.settings.model_dump(mode="json")
        return tuple(SettingValue(path, masked(path, value), str(self.origin(path))) for path, value in leaves(dumped))

    def origin(self, path: str) -> Origin:
        """Where the value at a dotted path came from."""
        return origin_of(path, self.origins) if path in self.given else Origin("default")


def load_settings(*, config: Path | None = None, home: Path | None = None) -> LoadedSettings:
    """Reads, merges and checks the settings.

    Args:
        config: Settings file given on the command line.
        home: Home folder given on the command line; wins over file and environment.

    Raises:
        InputError: An unknown key, a value that does not fit, or two settings that contradict each other; names the key
            and where it was set.
        NotFoundError: The settings file named by `config` or GRAFTWORK_CONFIG does not exist.
    """
    environment = read_environment(Settings)
    given_home = home or environment.values.get("home") or DEFAULT_HOME
    file = find_file(config, home=Path(str(given_home)).expanduser())
    from_file = read_file(file) if file else RawSettings()
    values = merge(from_file.values, environment.values)
    origins = {**from_file.origins, **environment.origins}
    if home is not None:
        put(values, "home", str(home.expanduser().absolute()))
        origins["home"] = Origin("option", "--home")
    _resolve_paths(values, origins)
    _fill_home_paths(values, origins)
    settings = _validate(values, origins)
    check_engine_arguments(settings.serve.engine, place=lambda key: _where(f"serve.engine.{key}", origins))
    for contradiction in find_contradictions(settings):
        places = "; ".join(f"{key} is from {origin_of(key, origins)}" for key in contradiction.keys)
        raise InputError(f"{contradiction.sentence} ({places}).")
    return LoadedSettings(settings, file, origins, frozenset(path for path, _ in leaves(values)))


def find_file(config: Path | None, *, home: Path) -> Path | None:
    """The settings file to read, or None where there is none.

    Raises:
        NotFoundError: The file was named and does not exist.
    """
    for named, source in ((config, "--config"), (os.environ.get("GRAFTWORK_CONFIG"), "GRAFTWORK_CONFIG")):
        if named:
            path = Path(named).expanduser().absolute()
            if not path.is_file():
                raise NotFoundError(f"The settings file {path} named by {source} does not exist.")
            return path
    here = Path.cwd()
    for folder in (here, *here.parents, home.absolute()):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def _resolve_paths(values: dict[str, JsonValue], origins: Mapping[str, Origin]) -> None:
    values.setdefault("home", str(Path(DEFAULT_HOME).expanduser()))
    for path, value in list(leaves(values)):
        if not isinstance(value, str) or not value:
            continue
        like_a_path = path in LOCATIONS and value.startswith(("./", "../", "~"))
        if like_a_path or (_is_path_field(path) and not (path in PLACES and "://" in value)):
            base = origin_of(path, origins).base or Path.cwd()
            put(values, path, str(Path(os.path.normpath(base / Path(value).expanduser()))))


def _fill_home_paths(values: dict[str, JsonValue], origins: dict[str, Origin]) -> None:
    given = {path for path, value in leaves(values) if value is not None}
    for path, folder in HOME_PATHS.items():
        section = values.get(path.split(".")[0], {})
        if path not in given and isinstance(section, dict):
            put(values, path, str(Path(str(values["home"])) / folder))
            origins[path] = Origin("home", "below home")


def _is_path_field(path: str) -> bool:
    model: type[BaseModel] = Settings
    *parents, last = path.split(".")
    for parent in parents:
        field = model.model_fields.get(parent)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return False
        model = inner
    field = model.model_fields.get(last)
    return field is not None and Path in _types_of(field.annotation)


def _types_of(annotation: object) -> set[object]:
    return {annotation}.union(*(_types_of(inner) for inner in typing.get_args(annotation)))


def _validate(values: dict[str, JsonValue], origins: Mapping[str, Origin]) -> Settings:
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = problems[0]
        path = ".".join(str(part) for part in first["loc"])
        where = _where(path, origins)
        if first["type"] == "extra_forbidden":
            sentence = f"{path} is no setting{where}{_did_you_mean(first['loc'])}"
        else:
            shown = masked(path, first["input"]) if isinstance(first["input"], str | int | float | bool) else None
            value = f" {shown!r}" if shown is not None else ""
            message = first["msg"].removeprefix("Value error, ")
            sentence = f"{path}{value}{where} cannot be used: {message}"
        others = [".".join(str(part) for part in problem["loc"]) for problem in problems[1:]]
        more = f" (also wrong: {', '.join(others)})" if others else ""
        raise InputError(f"{sentence.rstrip('.')}{more}.") from error


def _where(path: str, origins: Mapping[str, Origin]) -> str:
    origin = origin_of(path, origins)
    return "" if origin.kind == "default" else f" ({origin})"


def _did_you_mean(location: Iterable[str | int]) -> str:
    *parents, key = (str(part) for part in location)
    model: type[BaseModel] = Settings
    for parent in parents:
        inner = model.model_fields[parent].annotation if parent in model.model_fields else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    close = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.5)
    section = f"{'.'.join(parents)}." if parents else ""
    if close:
        return f"; did you mean {section}{close[0]}?"
    return f"; known here are {', '.join(sorted(model.model_fields))}"


def masked(path: str, value: JsonValue) -> JsonValue:
    """The value as it may be shown: passwords in URLs and values of secret-looking keys are masked."""
    if not isinstance(value, str) or not value:
        return value
    if _SECRET_NAME.search(path.rpartition(".")[2]):
        return MASK
    return re.sub(r"(://[^/@:]*:)[^/@]+@", rf"\1{MASK}@", value)
