from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError
from tests.train.runs.conftest import RESULT, record
from train.runs.record import RECORD_FILE, read_record, write_record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    for kept in (record(), record(state="failed", result=None, reason="No room.")):
        write_record(tmp_path, kept)
        assert read_record(tmp_path) == kept
    assert [path.name for path in tmp_path.iterdir()] == [RECORD_FILE]


def test_a_loss_that_is_no_number_is_null(tmp_path: Path) -> None:
    kept = record(result=dataclasses.replace(RESULT, final_loss=math.nan))
    write_record(tmp_path, kept)
    found = read_record(tmp_path)
    assert found.result is not None
    assert found.result.final_loss is None
    result = kept.to_json()["result"]
    assert isinstance(result, dict)
    assert result["final_loss"] is None


def test_a_folder_without_a_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"holds no run\.json: it is no training run, or one from before"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": "many"}, "rows: Input should be a valid integer"),
        ({"state": "resting"}, "state: Input should be"),
        ({"started": "2026-03-01T10:30:00"}, "started: Input should have timezone info"),
        ({"api_version": "graftwork.dev/v9"}, "api_version: Input should be"),
        ({"result": {"adapter": "a@1"}}, "result.steps: Field required"),
    ],
)
def test_a_damaged_record_is_named_with_its_place(tmp_path: Path, change: dict[str, object], words: str) -> None:
    (tmp_path / RECORD_FILE).write_text(json.dumps({**record().to_json(), **change}))
    with pytest.raises(InputError) as caught:
        read_record(tmp_path)
    assert f"{tmp_path / RECORD_FILE} is not the record of a run: {words}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{oops", b"\xff\xfe", b"[]"])
def test_what_is_no_json_object_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RECORD_FILE).write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json is not the record of a run: the document: "):
        read_record(tmp_path)


def test_a_record_that_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / RECORD_FILE).mkdir()
    with pytest.raises(InputError, match=r"run\.json cannot be read: Is a directory"):
        read_record(tmp_path)
