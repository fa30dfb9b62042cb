from __future__ import annotations

import math
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError
from train.sweep.spec import Choices, Draw, SweepSpec, parse_spec, read_spec

WHOLE = """
fields:
  rank: [4, 8, 16]
  learning_rate: {log: [1e-4, 1.0e-2]}
  dropout: {uniform: [0, 0.1]}
  gradient_accumulation: {int: [1, 8]}
  weight_decay: [0, 1e-2]
  lora.init_lora_weights: [true, gaussian]
samples: 4
seed: 3
metric: f1
concurrent: 2
"""


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(WHOLE)
    assert read_spec(tmp_path / "sweep.yaml") == SweepSpec(
        fields={
            "rank": Choices((4, 8, 16)),
            "learning_rate": Draw("log", 1e-4, 1e-2),
            "dropout": Draw("uniform", 0.0, 0.1),
            "gradient_accumulation": Draw("int", 1, 8),
            "weight_decay": Choices((0, 0.01)),
            "lora.init_lora_weights": Choices((True, "gaussian")),
        },
        samples=4,
        seed=3,
        metric="f1",
        concurrent=2,
    )


def test_a_file_of_choices_alone_says_nothing_else() -> None:
    found = parse_spec({"fields": {"rank": [4]}})
    assert (found.samples, found.seed, found.metric, found.concurrent) == (1, 7, "eval_loss", 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "the document: "),
        ([1], "the document: "),
        ({}, "fields: Field required"),
        ({"fields": {}}, "fields: Dictionary should have at least 1 item"),
        ({"fields": {"rank": 8}}, "fields.rank is 8; give a list of choices, {log: [a, b]}"),
        ({"fields": {"rank": []}}, "fields.rank is []; give a list"),
        ({"fields": {"rank": {"normal": [1, 2]}}}, "fields.rank is {'normal': [1, 2]}; give"),
        ({"fields": {"rank": {"log": [1, 2], "int": [1, 2]}}}, "give a list of choices"),
        ({"fields": {"alpha": {"int": [1, 2.5]}}, "samples": 2}, "fields.alpha has int: [1, 2.5]; give two whole"),
        ({"fields": {"alpha": {"int": [1]}}, "samples": 2}, "fields.alpha has int: [1]; give two whole numbers"),
        ({"fields": {"dropout": {"log": [0, 1]}}, "samples": 2}, "has log: [0, 1]; give two numbers above 0, the"),
        ({"fields": {"dropout": {"uniform": [1, 0]}}, "samples": 2}, "which is no range; give two numbers, the lower"),
        ({"fields": {"dropout": {"uniform": [0, math.inf]}}, "samples": 2}, "which is no range"),
        ({"fields": {"dropout": {"uniform": [0, 1]}}}, "dropout is drawn, and nothing says how often; add samples"),
        ({"fields": {"rank": [4]}, "samples": 2}, "samples is 2, but no field is drawn"),
        ({"fields": {"rank": [4]}, "samples": 0}, "samples: Input should be greater than or equal to 1"),
        ({"fields": {"rank": [4]}, "concurrent": 0}, "concurrent: Input should be greater than or equal to 1"),
        ({"fields": {"rank": [4]}, "metrik": "f1"}, "metrik: Extra inputs are not permitted"),
    ],
)
def test_what_is_no_sweep_is_named(content: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_spec(content)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"), [("fields: {", "is no YAML"), ("fields: {rank: 8}", "cannot be used: fields.rank is 8")]
)
def test_the_file_is_named(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "sweep.yaml"
    with pytest.raises(NotFoundError, match=f"There is no sweep file {path}"):
        read_spec(path)
    path.write_text(content)
    with pytest.raises(InputError, match=f"The sweep file {path} {says}"):
        read_spec(path)
