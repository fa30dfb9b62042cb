"""Event files, read back record by record as TensorBoard frames them."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from tests.train.runs.conftest import reports
from train.runs.events import FOLDER, Events


def read_events(folder: Path) -> list[Event]:
    """All events of a run, in the order in which they were written."""
    found = []
    for path in sorted((folder / FOLDER).iterdir()):
        content = path.read_bytes()
        place = 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            found.append(Event.FromString(content[place + 12 : place + 12 + length]))
            place += 12 + length + 4
    return found


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    return [
        (value.tag, event.step, value.simple_value) for event in read_events(folder) for value in event.summary.value
    ]


def test_each_report_is_an_event_a_value(tmp_path: Path) -> None:
    events = Events(tmp_path)
    first, second = reports(2.0, 1.5)
    events.add(first)
    events.add(dataclasses.replace(second, eval_loss=1.75))
    events.close()
    found = {(name, step): value for name, step, value in scalars(tmp_path)}
    assert found == {
        ("loss", 1): 2.0,
        ("tokens_per_s", 1): 100.0,
        ("loss", 2): 1.5,
        ("tokens_per_s", 2): 100.0,
        ("eval_loss", 2): pytest.approx(1.75),
    }


def test_a_run_that_goes_on_takes_back_the_steps_that_it_trains_again(tmp_path: Path) -> None:
    for first_step in (1, 3):
        events = Events(tmp_path)
        for each in reports(2.0, 1.5, 1.0, first_step=first_step):
            events.add(each)
        events.close()
    starts = [event.step for event in read_events(tmp_path) if event.session_log.status == SessionLog.START]
    assert starts[-1] == 3


def test_nothing_is_written_before_the_first_report(tmp_path: Path) -> None:
    Events(tmp_path).close()
    assert not (tmp_path / FOLDER).exists()
