from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from indexer.errors import InputError
from train.data.reading import read_dataset, read_source
from train.data.sources import Source

GOOD = json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})


def write(folder: Path, name: str, text: str) -> Source:
    (folder / name).write_text(text)
    return Source(str(folder / name))


def test_rows_know_their_lines_and_the_file_its_hash(tmp_path: Path) -> None:
    source = write(tmp_path, "rows.jsonl", f"{GOOD}\n\n  \n{GOOD}\r\n{{}}\n")
    read = read_source(source)
    assert [example.origin.line for example in read.examples] == [1, 4]
    assert [str(row.origin) for row in read.bad] == [f"{source.place}:5"]
    assert read.sha256 == hashlib.sha256(Path(source.place).read_bytes()).hexdigest()


def test_all_bad_lines_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    sources = [write(tmp_path, "a.jsonl", f"{GOOD}\n{{}}\n"), write(tmp_path, "b.jsonl", "{}\n" * 24)]
    with pytest.raises(InputError) as caught:
        read_dataset(sources)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("25 of 26 rows cannot be trained on")
    assert lines[1].startswith(f"  {tmp_path}/a.jsonl:2: no messages")
    assert lines[20].startswith(f"  {tmp_path}/b.jsonl:19: ")
    assert lines[21:] == ["  and 5 more"]


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    sources = [write(tmp_path, "a.jsonl", GOOD), write(tmp_path, "empty.jsonl", "\n\n")]
    with pytest.raises(InputError, match=r"empty\.jsonl holds no rows"):
        read_dataset(sources)
