from __future__ import annotations

import json
from pathlib import Path

import pytest
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import _CheckpointManagerState

from indexer.errors import UnavailableError
from train.faults.checkpoint_list import COPY_FILE, LIST_FILE, keep_list, last_checkpoint, mend_list


def _listed(name: str) -> str:
    return json.dumps({"ray_version": "1", "latest_checkpoint_result": {"checkpoint_dir_name": name}})


def test_the_names_are_those_of_ray() -> None:
    assert LIST_FILE == CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
    schema = _CheckpointManagerState.schema()
    assert "latest_checkpoint_result" in schema["properties"]
    assert "checkpoint_dir_name" in json.dumps(schema)


def test_a_list_that_was_cut_off_is_put_back_as_it_was(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    mend_list(tmp_path)
    (tmp_path / LIST_FILE).write_text(_listed("checkpoint-4"))
    keep_list(tmp_path)
    for cut_off in ("", '{"ray_version": "1", "latest_che'):
        (tmp_path / LIST_FILE).write_text(cut_off)
        assert last_checkpoint(tmp_path) == "checkpoint-4"
        mend_list(tmp_path)
        assert (tmp_path / LIST_FILE).read_text() == _listed("checkpoint-4")


def test_a_whole_list_stays_whatever_the_copy_says(tmp_path: Path) -> None:
    (tmp_path / COPY_FILE).write_text(_listed("checkpoint-4"))
    (tmp_path / LIST_FILE).write_text(_listed("checkpoint-8"))
    mend_list(tmp_path)
    assert last_checkpoint(tmp_path) == "checkpoint-8"


def test_a_list_without_a_copy_is_named(tmp_path: Path) -> None:
    (tmp_path / LIST_FILE).write_text("{")
    with pytest.raises(UnavailableError, match=rf"{LIST_FILE} cannot be read, nor can its copy"):
        mend_list(tmp_path)


def test_a_list_that_cannot_be_copied_leaves_the_copy_of_before(tmp_path: Path) -> None:
    (tmp_path / COPY_FILE).write_text(_listed("checkpoint-4"))
    keep_list(tmp_path)
    assert last_checkpoint(tmp_path) == "checkpoint-4"
