"""The embedder's arithmetic; its files are tested in test_files.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from indexer.embedding.embedder import Embedder, multiplies_bfloat16
from indexer.embedding.files import EMBEDDED_NAME

TEXTS = (
    "The hawser of the north berth is forty metres long and is changed every second spring.",
    "Sorting a hash by value: pass sort a block that compares the values of two keys.",
    "The red lamp burns colza oil; the green one burns paraffin.",
    "The ferry does not cross while the barometer falls by more than three units an hour.",
    "A list is a sequence of values that has no name; an array is a variable that holds one.",
)
QUERIES = ("Which oil does the red lamp burn?", "How do I sort a hash by its values?", "When does the ferry stay?")


def test_bfloat16_ranks_as_float32_does() -> None:
    exact = Embedder(EMBEDDED_NAME, "cpu", dtype="float32")
    quick = Embedder(EMBEDDED_NAME, "cpu", dtype="bfloat16")
    documents, near = exact.encode_documents(TEXTS), quick.encode_documents(TEXTS)
    assert near.dtype == np.float32
    assert not np.array_equal(documents, near)
    assert (documents * near).sum(axis=1).min() > 0.9995
    assert np.allclose(np.linalg.norm(near, axis=1), 1, atol=1e-3)
    ranks = np.argsort(-exact.encode_queries(QUERIES) @ documents.T, axis=1)
    quick_ranks = np.argsort(-quick.encode_queries(QUERIES) @ near.T, axis=1)
    assert ranks[:, 0].tolist() == quick_ranks[:, 0].tolist() == [2, 1, 3]


@pytest.mark.parametrize(
    ("able", "expected"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_auto_asks_the_processor(monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], expected: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert multiplies_bfloat16(torch.device("cpu")) is expected
