from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from train.settings import TrainSettings


def test_every_field_is_described() -> None:
    assert [name for name, field in TrainSettings.model_fields.items() if not field.description] == []


def test_paths_are_expanded_and_unset_ones_are_known() -> None:
    settings = TrainSettings(registry=Path("~/somewhere"))
    assert settings.registry == Path.home() / "somewhere"
    assert settings.models_dir == Path.home() / ".graftwork" / "models"
    assert settings.model_fields_set == {"registry"}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"rnak": 8}, "rnak"),
        ({"rank": 128}, "rank 128 is above max_rank 64"),
        ({"workers": 0}, "workers"),
        ({"dropout": 1.0}, "dropout"),
        ({"lr_scheduler": "sawtooth"}, "lr_scheduler"),
    ],
)
def test_a_bad_value_is_refused_by_name(fields: dict[str, object], names: str) -> None:
    with pytest.raises(ValidationError, match=names):
        TrainSettings(**fields)  # type: ignore[arg-type]
