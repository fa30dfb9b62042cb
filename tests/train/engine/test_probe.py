from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from train.engine.probe import Failed, Probe, ProbeRows, Reading, probe_rows, read_document, write_document
from train.tokens import TokenRows


def rows_of(*lengths: int, prompt: int) -> TokenRows:
    """Rows that count up from 0, learned behind their prompt."""
    return TokenRows(
        ids=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        supervised=np.concatenate([np.arange(length) >= prompt for length in lengths]),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
    )


def test_rows_are_spread_and_cut_and_a_few_are_answered() -> None:
    lengths = [10 + number for number in range(15)] + [300]
    found = probe_rows(rows_of(*lengths, prompt=4))
    assert [len(row) for row in found.scored] == [10, 12, 14, 16, 18, 20, 22, 24]
    assert found.prompts == ((0, 1, 2, 3),) * 4
    assert found.longest == 24
    long = probe_rows(rows_of(300, 20, prompt=290))
    assert [len(row) for row in long.scored] == [128, 20]
    assert long.longest == 128 + long.written


def test_a_row_of_one_token_or_without_a_question_is_not_asked() -> None:
    found = probe_rows(rows_of(1, 5, prompt=0))
    assert (found.scored, found.prompts) == (((0, 1, 2, 3, 4),), ())


def test_what_is_asked_and_said_survives_the_way_between_processes(tmp_path: Path) -> None:
    probe = Probe(
        base=Path("/base"),
        adapter=Path("/adapter"),
        rank=4,
        dtype="float32",
        device="cpu",
        threads=2,
        rows=ProbeRows(((1, 2),), ((3,),), 5),
    )
    failed = Failed("engine", "start", "no room", "find some")
    for document in (probe, failed):
        write_document(tmp_path / "d.json", document)
        assert read_document(tmp_path / "d.json", type(document)) == document
    write_document(tmp_path / "d.json", Reading(((-0.1,),), ((math.nan, -math.inf),), ((3,),)))
    read = read_document(tmp_path / "d.json", Reading)
    assert math.isnan(read.adapter[0][0])
    assert read.adapter[0][1] == -math.inf
    with pytest.raises(ValidationError):
        read_document(tmp_path / "d.json", Probe)
