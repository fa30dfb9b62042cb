"""The embedder's arithmetic; its files are tested in test_files.py."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.store.schema import VECTORS

TEXTS = (
    "The hawser of the north berth is forty metres long and is changed every second spring.",
    "Sorting a hash by value: pass sort a block that compares the values of two keys.",
    "The red lamp burns colza oil; the green one burns paraffin.",
    "The ferry does not cross while the barometer falls by more than three units an hour.",
    "A list is a sequence of values that has no name; an array is a variable that holds one.",
)
QUERIES = ("Which oil does the red lamp burn?", "How do I sort a hash by its values?", "When does the ferry stay?")
PROMPTS = {"query": "question of a sailor about the harbour: ", "document": "page of the harbour book: "}
BUDGET = 100


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


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """The embedded model, as one that was trained with prompts is saved, and without a step that makes unit vectors."""
    folder = tmp_path_factory.mktemp("models") / "prompted"
    shutil.copytree(resolve_embedder(EMBEDDED_NAME).path, folder, copy_function=os.symlink)
    shape(folder / "config_sentence_transformers.json", lambda saved: {**saved, "prompts": PROMPTS})
    shape(folder / "modules.json", lambda modules: modules[:-1])
    return Embedder(str(folder), "cpu", dtype="float32", batch_tokens=BUDGET)


def shape(file: Path, change: Callable[[Any], object]) -> None:
    changed = json.dumps(change(json.loads(file.read_text())))
    file.unlink()
    file.write_text(changed)


def test_documents_and_queries_get_the_models_own_prompts(prompted: Embedder) -> None:
    plain = Embedder(EMBEDDED_NAME, "cpu", dtype="float32")
    ways = ((prompted.encode_documents, PROMPTS["document"]), (prompted.encode_queries, PROMPTS["query"]))
    for encode, prompt in ways:
        found = encode(QUERIES)
        np.testing.assert_allclose(found, plain.encode_documents([prompt + text for text in QUERIES]), atol=1e-5)
        assert (found * plain.encode_documents(QUERIES)).sum(axis=1).max() < 0.99
    assert prompted.identity.rpartition("@")[2] != plain.identity.rpartition("@")[2]


def test_vectors_are_of_unit_length_as_a_collection_records(prompted: Embedder) -> None:
    vectors = prompted.encode_documents(TEXTS)
    assert VECTORS == "float32 of unit length"
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert np.allclose(np.linalg.norm(prompted.encode_queries(QUERIES), axis=1), 1, atol=1e-3)


def test_every_pass_of_the_model_keeps_to_the_budget_prompt_and_padding_counted(prompted: Embedder) -> None:
    passes: list[torch.Size] = []

    def note(_: torch.nn.Module, arguments: tuple[dict[str, torch.Tensor]]) -> None:
        passes.append(arguments[0]["input_ids"].shape)

    texts = [" ".join(["word"] * words) for words in (3, 30, 5, 29, 4, 28, 3, 400)]
    hook = prompted._model[0].register_forward_pre_hook(note)
    try:
        prompted.encode_documents(texts)
    finally:
        hook.remove()
    assert sum(rows for rows, _ in passes) == len(texts)
    over = [(rows, columns) for rows, columns in passes if rows * columns > BUDGET]
    assert over == [(1, prompted.max_tokens)]  # alone
    assert max(rows for rows, _ in passes) > 1
