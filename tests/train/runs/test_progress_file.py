from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from indexer.errors import InputError
from tests.train.runs.conftest import reports
from train.runs.progress_file import append_progress, latest, open_progress, read_progress
from train.runs.record import PROGRESS_FILE


def test_reports_can_be_read_while_the_run_lasts(tmp_path: Path) -> None:
    assert read_progress(tmp_path) == ()
    with open_progress(tmp_path) as file:
        for count, report in enumerate(reports(2.0, 1.5), start=1):
            append_progress(file, report)
            assert read_progress(tmp_path) == tuple(reports(2.0, 1.5)[:count])


def test_a_loss_that_is_no_number_is_null(tmp_path: Path) -> None:
    with open_progress(tmp_path) as file:
        append_progress(file, reports(math.nan)[0])
    assert json.loads((tmp_path / PROGRESS_FILE).read_text())["loss"] is None
    assert math.isnan(read_progress(tmp_path)[0].loss)


def test_steps_that_are_trained_again_supersede_the_older_ones() -> None:
    first, again = reports(2.0, 1.5, 1.2, 1.1), reports(1.25, first_step=3)
    assert latest([*first, *again]) == (*first[:2], *again)
    assert latest([*first, *again, *reports(0.9, first_step=4)])[-1].loss == 0.9


def test_a_run_that_was_cut_in_a_line_goes_on_behind_its_last_whole_one(tmp_path: Path) -> None:
    with open_progress(tmp_path) as file:
        append_progress(file, reports(2.0)[0])
        file.write(b'{"step": 2, "total_st')
    assert read_progress(tmp_path) == tuple(reports(2.0))
    with open_progress(tmp_path) as file:
        append_progress(file, reports(1.5, first_step=2)[0])
    assert read_progress(tmp_path) == tuple(reports(2.0, 1.5))


@pytest.mark.parametrize("line", ["oops", "{}", '{"step": -1}', ""])
def test_a_line_that_is_no_report_is_named(tmp_path: Path, line: str) -> None:
    with open_progress(tmp_path) as file:
        append_progress(file, reports(2.0)[0])
        file.write(f"{line}\n".encode())
    with pytest.raises(InputError, match=r"progress\.jsonl:2 is no report of a training run"):
        read_progress(tmp_path)
