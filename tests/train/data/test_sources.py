from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError
from train.data.sources import Source, find_sources, open_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jsonl", "b.jsonl", "deep/c.jsonl", "d=2.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}\n")
    return tmp_path


def test_files_patterns_and_weights(folder: Path) -> None:
    found = find_sources(
        [f"{folder}/a.jsonl=0.5", f"{folder}/**/c.jsonl", "s3://bucket/rows.jsonl=3", f"{folder}/d=2.jsonl"]
    )
    assert found == (
        Source(str(folder / "a.jsonl"), 0.5),
        Source(str(folder / "deep" / "c.jsonl")),
        Source("s3://bucket/rows.jsonl", 3.0),
        Source(str(folder / "d=2.jsonl")),
    )
    assert [Path(each.place).name for each in find_sources([f"{folder}/*.jsonl=2"])] == [
        "a.jsonl",
        "b.jsonl",
        "d=2.jsonl",
    ]


@pytest.mark.parametrize("weight", ["0", "-1", "1e9", "inf"])
def test_a_weight_is_a_number_above_0(folder: Path, weight: str) -> None:
    with pytest.raises((InputError, NotFoundError), match=r"weight|no dataset"):
        find_sources([f"{folder}/a.jsonl={weight}"])


def test_what_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no dataset .*none\.jsonl"):
        find_sources([f"{folder}/none.jsonl"])
    with pytest.raises(NotFoundError, match=r"No file matches .*\*\.csv"):
        find_sources([f"{folder}/*.csv"])
    with pytest.raises(InputError, match=r"a\.jsonl is named twice; .*=2"):
        find_sources([f"{folder}/a.jsonl", f"{folder}/*.jsonl"])
    with pytest.raises(InputError, match="No dataset is named"):
        find_sources([])


def test_a_folder_cannot_be_read(folder: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"), open_rows(Source(str(folder))):
        pass
    with pytest.raises(NotFoundError, match="no dataset"), open_rows(Source(str(folder / "none"))):
        pass
