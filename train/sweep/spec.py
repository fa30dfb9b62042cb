"""The sweep file: which settings are tried, with which values, and what the best trial is chosen by.

fields:
  rank: [4, 8, 16]                      each of them
  learning_rate: {log: [1e-4, 1e-2]}    drawn, evenly over the logarithm
  dropout: {uniform: [0, 0.1]}          drawn
  gradient_accumulation: {int: [1, 8]}  drawn, both ends included
  lora.init_lora_weights: [true, gaussian]
samples: 4                              draws for each combination of choices
seed: 7                                 of the draws
metric: eval_loss                       a score of the runs, or final_loss
concurrent: 1                           trials at a time
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from indexer.errors import InputError, NotFoundError, system_cause
from train.scores import EVAL_LOSS

DrawKind = Literal["log", "uniform", "int"]
_FORMS = "a list of choices, {log: [a, b]}, {uniform: [a, b]} or {int: [a, b]}"
# YAML 1.1 takes a number with an exponent and without a point, such as 1e-4, for text.
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
_BOUNDS: Mapping[DrawKind, TypeAdapter[tuple[float, float]]] = {
    "log": TypeAdapter(tuple[Annotated[float, Field(gt=0)], float]),
    "uniform": TypeAdapter(tuple[float, float]),
    "int": TypeAdapter(tuple[int, int]),
}


@dataclass(frozen=True, slots=True)
class Choices:
    """Values that are all tried."""

    values: tuple[JsonValue, ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """A range that values are drawn from: evenly, evenly over the logarithm, or whole numbers with both ends."""

    kind: DrawKind
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """What is tried.

    Attributes:
        fields: What each setting is given, by its name in TrainSettings; lora.NAME and trainer.NAME are single fields
            of these two.
        samples: Draws for each combination of choices.
        seed: Seed of the draws.
        metric: What the best trial is chosen by, a name in `train.scores` or final_loss.
        concurrent: Trials that run at the same time.
    """

    fields: Mapping[str, Choices | Draw]
    samples: int = 1
    seed: int = 7
    metric: str = EVAL_LOSS
    concurrent: int = 1


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    fields: dict[str, JsonValue] = Field(min_length=1)
    samples: int | None = Field(None, ge=1)
    seed: int = Field(7, ge=0)
    metric: str = EVAL_LOSS
    concurrent: int = Field(1, ge=1)


def read_spec(path: Path) -> SweepSpec:
    """Read a sweep file.

    Raises:
        NotFoundError: There is none.
        InputError: It is no sweep: the key is named, and what it may be.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no sweep file {path}.") from error
    except OSError as error:
        raise InputError(f"The sweep file {path} cannot be read: {system_cause(error)}.") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"The sweep file {path} is no YAML: {' '.join(str(error).split())}.") from error
    try:
        return parse_spec(content)
    except InputError as error:
        raise InputError(f"The sweep file {path} cannot be used: {error}") from error


def parse_spec(content: object) -> SweepSpec:
    """Make a sweep of what a file holds.

    Raises:
        InputError: It is no sweep: the key is named, and what it may be.
    """
    try:
        found = _File.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the document"
        raise InputError(f"{key}: {first['msg']}.") from error
    fields = {name: _field(name, value) for name, value in found.fields.items()}
    drawn = [name for name, field in fields.items() if isinstance(field, Draw)]
    if drawn and found.samples is None:
        raise InputError(f"{', '.join(drawn)} is drawn, and nothing says how often; add samples, such as samples: 8.")
    if not drawn and found.samples not in {None, 1}:
        raise InputError(f"samples is {found.samples}, but no field is drawn; leave it out.")
    return SweepSpec(
        fields=fields,
        samples=found.samples or 1,
        seed=found.seed,
        metric=found.metric,
        concurrent=found.concurrent,
    )


def _field(name: str, value: JsonValue) -> Choices | Draw:
    if isinstance(value, list) and value:
        return Choices(tuple(_number(choice) for choice in value))
    if isinstance(value, dict):
        for kind in _BOUNDS:
            if value.keys() == {kind}:
                return _draw(name, kind, value[kind])
    raise InputError(f"fields.{name} is {value!r}; give {_FORMS}.")


def _draw(name: str, kind: DrawKind, value: JsonValue) -> Draw:
    bounds = [_number(bound) for bound in value] if isinstance(value, list) else value
    try:
        low, high = _BOUNDS[kind].validate_python(bounds)
    except ValidationError as error:
        raise InputError(f"fields.{name} has {kind}: {value!r}; {_wanted(kind)}.") from error
    if not low < high < float("inf"):
        raise InputError(f"fields.{name} has {kind}: {value!r}, which is no range; {_wanted(kind)}.")
    return Draw(kind, low, high)


def _wanted(kind: DrawKind) -> str:
    what = {"log": "two numbers above 0", "uniform": "two numbers", "int": "two whole numbers"}[kind]
    return f"give {what}, the lower one first"


def _number(value: JsonValue) -> JsonValue:
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
