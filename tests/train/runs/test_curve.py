from __future__ import annotations

import dataclasses
import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.train.runs.conftest import reports
from train.runs.curve import draw_curve

SVG = "{http://www.w3.org/2000/svg}"


def stretches(drawing: bytes) -> list[list[tuple[float, float]]]:
    """The points of the loss, as places in the picture; a gap begins a stretch."""
    group = next(each for each in ET.fromstring(drawing).iter(f"{SVG}g") if each.get("id") == "loss")
    path = next(group.iter(f"{SVG}path")).attrib["d"]
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", stretch)]
        for stretch in re.findall(r"M [^M]+", path)
    ]


def test_a_falling_loss_goes_down_to_the_right() -> None:
    (points,) = stretches(draw_curve(reports(2.0, 1.0, 0.5), form="svg"))
    assert points == sorted(points)
    assert [y for _, y in points] == sorted(y for _, y in points)
    assert points[1][1] - points[0][1] == pytest.approx(2 * (points[2][1] - points[1][1]), rel=0.01)


def test_a_loss_that_is_no_number_leaves_a_gap() -> None:
    drawing = draw_curve(reports(2.0, 1.5, math.nan, 1.2, 1.1, math.inf, 1.0), form="svg")
    assert [len(points) for points in stretches(drawing) if len(points) > 1] == [2, 2]


def test_evaluations_are_in_the_picture() -> None:
    plain = draw_curve(reports(2.0, 1.0), form="svg").decode()
    assert "evaluation" not in plain
    measured = [dataclasses.replace(each, eval_loss=3.0) for each in reports(2.0, 1.0)]
    drawing = draw_curve(measured, eval_loss=3.5, form="svg").decode()
    assert ">evaluation<" in drawing
    assert "evaluation at the end 3.500" in drawing


@pytest.mark.parametrize("losses", [(), (math.nan,)])
def test_a_run_without_a_loss_says_so(losses: tuple[float, ...]) -> None:
    assert b"no loss reported" in draw_curve(reports(*losses), form="svg")


@example(losses=[0.0, 5e-324])
@example(losses=[1e6, 1e6 + 1e-9])
@settings(max_examples=10)
@given(losses=st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=20))
def test_any_losses_can_be_drawn_the_same_way_each_time(losses: list[float]) -> None:
    drawing = draw_curve(reports(*losses), form="svg")
    assert drawing == draw_curve(reports(*losses), form="svg")
    assert sum(map(len, stretches(drawing))) >= 1


def test_the_picture_of_a_folder_is_a_png() -> None:
    assert draw_curve(reports(2.0, 1.0), form="png").startswith(b"\x89PNG\r\n")
