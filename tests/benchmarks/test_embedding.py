"""Chunks per second of the embedder in bfloat16 against float32, and how far the vectors are from each other."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EMBEDDED_NAME
from indexer.embedding.precision import multiplies_bfloat16
from indexer.settings import EmbedDtype

pytestmark = pytest.mark.bench

ROOT = Path(__file__).parents[2]
WORDS = 110  # about 200 tokens, the default size of a chunk
CHUNKS = 256
ROUNDS = 3
DTYPES: tuple[EmbedDtype, ...] = ("float32", "bfloat16")


def test_chunks_per_second(capsys: pytest.CaptureFixture[str]) -> None:
    texts = prose(ROOT / "deploy/demo/corpus")
    embedders = {dtype: Embedder(EMBEDDED_NAME, dtype=dtype) for dtype in DTYPES}
    vectors = {dtype: embedder.encode_documents(texts) for dtype, embedder in embedders.items()}
    seconds: dict[EmbedDtype, list[float]] = {dtype: [] for dtype in DTYPES}
    for _ in range(ROUNDS):
        for dtype, embedder in embedders.items():
            began = time.perf_counter()
            embedder.encode_documents(texts)
            seconds[dtype].append(time.perf_counter() - began)
    rate = {dtype: len(texts) / statistics.median(taken) for dtype, taken in seconds.items()}
    cosine = (vectors["float32"] * vectors["bfloat16"]).sum(axis=1)
    device = next(iter(embedders.values())).device
    with capsys.disabled():
        print(f"\n\n{len(texts)} chunks of {WORDS} words on {device}, {os.cpu_count()} CPUs, medians of {ROUNDS}")
        for dtype in DTYPES:
            print(f"{dtype:>9}  {rate[dtype]:6.1f} chunks/s  x{rate[dtype] / rate['float32']:.2f}")
        print(f"cosine between them: least {cosine.min():.5f}, mean {cosine.mean():.5f}")
    assert cosine.min() > 0.999
    if multiplies_bfloat16(device):
        assert rate["bfloat16"] > rate["float32"]


def prose(folder: Path) -> list[str]:
    """Cut a folder's text files into pieces of `WORDS` words, repeated up to `CHUNKS` pieces."""
    words = " ".join(file.read_text() for file in sorted(folder.rglob("*.md"))).split()
    pieces = [" ".join(words[start : start + WORDS]) for start in range(0, len(words), WORDS)]
    return [pieces[number % len(pieces)] for number in range(CHUNKS)]
