"""From a sweep to its trials: every combination of choices, every draw, and the settings that they make."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError

from indexer.errors import InputError
from train.settings import HOME_FOLDERS, TrainSettings
from train.sweep.spec import Choices, Draw, SweepSpec

# The runs of a sweep are numbered with three digits.
MOST_TRIALS = 999
# Drawn numbers are rounded to so many digits, so that what is shown is what was trained with.
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination.

    Attributes:
        run: Name of its training run.
        values: What it gives the settings that vary, by name.
        settings: All of its settings.
    """

    run: str
    values: Mapping[str, JsonValue]
    settings: TrainSettings

    @property
    def label(self) -> str:
        """What sets it apart, in words."""
        return shown_values(self.values)


def make_trials(spec: SweepSpec, *, name: str, base: TrainSettings) -> tuple[Trial, ...]:
    """Lay out a sweep's trials, the same for the same seed; equal ones are there once.

    Args:
        spec: What is tried.
        name: The sweep's name, which those of its runs begin with.
        base: Every other setting.

    Raises:
        InputError: A field that does not exist or cannot vary, a value that does not fit, or more trials than a sweep
            may have.
    """
    for field in spec.fields:
        _check_field(field, base, others=spec.fields.keys() - {field})
    found: dict[str, tuple[dict[str, JsonValue], TrainSettings]] = {}
    for wanted in _variants(spec):
        settings = settings_with(base, wanted)
        values = {field: _value(settings, field) for field in spec.fields}
        found.setdefault(json.dumps(values, sort_keys=True), (values, settings))
        if len(found) > MOST_TRIALS:
            raise InputError(f"The sweep has more than {MOST_TRIALS} trials; give fewer choices or samples.")
    return tuple(
        Trial(f"{name}-{number:03}", values, settings)
        for number, (values, settings) in enumerate(found.values(), start=1)
    )


def settings_with(base: TrainSettings, values: Mapping[str, JsonValue]) -> TrainSettings:
    """Return settings with other values, checked as if they had been set so.

    Raises:
        InputError: A value does not fit, or not to the others.
    """
    changed: dict[str, object] = {name: getattr(base, name) for name in TrainSettings.model_fields}
    for field, value in values.items():
        name, dot, key = field.partition(".")
        if not dot:
            changed[name] = value
        elif isinstance(mapping := changed[name], dict):
            changed[name] = {**mapping, key: value}
    try:
        return TrainSettings.model_validate(changed)
    except ValidationError as error:
        first = error.errors()[0]
        named = {field: value for field, value in values.items() if field.split(".")[0] in first["loc"][:1]}
        what = shown_values(named) or ".".join(map(str, first["loc"])) or shown_values(values)
        raise InputError(f"The sweep's {what} cannot be used: {first['msg']}.") from error


def shown_values(values: Mapping[str, JsonValue]) -> str:
    """Return values in words, such as 'rank=8, learning_rate=0.001'."""
    return ", ".join(f"{field}={shown_value(value)}" for field, value in values.items())


def shown_value(value: JsonValue) -> str:
    """Return one value in few characters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _check_field(field: str, base: TrainSettings, *, others: Set[str]) -> None:
    name, dot, key = field.partition(".")
    if name in HOME_FOLDERS:
        raise InputError(f"The sweep's field {field} is one place for all of its trials; set it in the settings.")
    if name not in TrainSettings.model_fields:
        near = difflib.get_close_matches(name, TrainSettings.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else "`graftwork settings` names them, under train."
        raise InputError(f"The sweep's field {field} is no training setting; {hint}")
    if dot and (not key or not isinstance(getattr(base, name), dict)):
        raise InputError(f"The sweep's field {field} is none; only lora and trainer have fields of their own.")
    if dot and name in others:
        raise InputError(f"The sweep varies {name} as a whole and its field {key}; vary one of them.")


def _variants(spec: SweepSpec) -> Iterator[dict[str, JsonValue]]:
    """Every combination of choices in its order, with draws of its own, as often as there are samples."""
    import numpy as np
    from ray import tune
    from ray.tune.search.variant_generator import generate_variants

    drawn = {"log": tune.loguniform, "uniform": tune.uniform, "int": lambda low, high: tune.randint(low, high + 1)}
    # Tune would look for ranges inside of choices that are mappings: it gets their places.
    space = {
        field: tune.grid_search([*range(len(each.values))])
        if isinstance(each, Choices)
        else drawn[each.kind](each.low, each.high)
        for field, each in spec.fields.items()
    }
    random = np.random.default_rng(spec.seed)
    for _ in range(spec.samples):
        for _, variant in generate_variants({"config": space}, random_state=random):
            yield {field: _resolved(each, variant["config"][field]) for field, each in spec.fields.items()}


def _resolved(field: Choices | Draw, found: float) -> JsonValue:
    if isinstance(field, Choices):
        return field.values[int(found)]
    if field.kind == "int":
        return int(found)
    return min(max(float(f"{found:.{_DIGITS}g}"), field.low), field.high)


def _value(settings: TrainSettings, field: str) -> JsonValue:
    """What the settings have made of a value: '8' is 8."""
    name, dot, key = field.partition(".")
    value: JsonValue = settings.model_dump(mode="json", include={name})[name]
    return value[key] if dot and isinstance(value, dict) else value
