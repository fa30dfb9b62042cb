from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from deploy.local.milvus_main import write_indexes_whole


def index_of(count: int) -> faiss.Index:
    index = faiss.IndexFlatL2(2)
    index.add(np.zeros((count, 2), dtype=np.float32))
    return index


def test_an_index_is_in_its_place_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dense.hnsw.idx"
    write = faiss.write_index

    def write_half(index: faiss.Index, name: str) -> None:
        write(index, name)
        whole = Path(name).read_bytes()
        Path(name).write_bytes(whole[: len(whole) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(faiss, "write_index", write)
    write_indexes_whole()
    faiss.write_index(index_of(3), str(path))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]

    monkeypatch.setattr(faiss, "write_index", write_half)
    write_indexes_whole()
    with pytest.raises(KeyboardInterrupt):
        faiss.write_index(index_of(5), str(path))
    assert faiss.read_index(str(path)).ntotal == 3


def test_milvus_lite_writes_by_the_name_that_is_replaced() -> None:
    from milvus_lite.index import faiss_hnsw

    assert faiss_hnsw.faiss is faiss
