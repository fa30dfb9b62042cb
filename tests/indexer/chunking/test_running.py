"""Chunks over headings and lists: whole sentences, and windows of tokens."""

from __future__ import annotations

from dataclasses import replace

from indexer.chunking.chunker import ChunkerSettings, cut
from indexer.chunking.slices import Slice
from indexer.chunking.tokens import EmbedderTokenizer
from indexer.settings import ChunkStrategy
from indexer.types import Document
from tests.indexer.making import document

HOW = ChunkerSettings(chunk_tokens=12, overlap_tokens=0, prefix_tokens=0)
QUAY = (
    ("heading", "Quay", ("Quay",)),
    ("paragraph", "Ropes are dry. Lamps are lit. Bells are rung.", ("Quay",)),
    ("heading", "Tides", ("Quay", "Tides")),
    ("paragraph", "The ebb runs out. The flood comes in.", ("Quay", "Tides")),
)


def slices(
    *blocks: tuple[str, str, tuple[str, ...]], tokenizer: EmbedderTokenizer, strategy: ChunkStrategy, overlap: int = 0
) -> tuple[Document, list[Slice]]:
    made = document(*blocks)
    return made, cut(made, tokens=tokenizer, settings=replace(HOW, strategy=strategy, overlap_tokens=overlap))


def texts(made: Document, found: list[Slice]) -> list[str]:
    return [" ".join(made.text[piece.start : piece.end].split()) for piece in found]


def test_sentences_stay_whole_and_run_over_headings(tokenizer: EmbedderTokenizer) -> None:
    made, found = slices(*QUAY, tokenizer=tokenizer, strategy="sentences")
    assert texts(made, found) == [
        "Quay Ropes are dry. Lamps are lit.",
        "Bells are rung. Tides The ebb runs out.",
        "The flood comes in.",
    ]
    assert [piece.heading_path for piece in found] == [("Quay",), ("Quay",), ("Quay", "Tides")]


def test_the_last_whole_sentences_are_repeated(tokenizer: EmbedderTokenizer) -> None:
    made, found = slices(*QUAY, tokenizer=tokenizer, strategy="sentences", overlap=5)
    assert texts(made, found)[:2] == ["Quay Ropes are dry. Lamps are lit.", "Lamps are lit. Bells are rung. Tides"]
    assert texts(made, found)[-1].endswith("The flood comes in.")


def test_lines_of_code_are_sentences(tokenizer: EmbedderTokenizer) -> None:
    lines = [f"load number {n} of rope" for n in range(4)]
    made, found = slices(("code", "\n".join(lines), ()), tokenizer=tokenizer, strategy="sentences")
    assert texts(made, found) == [" ".join(lines[:2]), " ".join(lines[2:])]


def test_windows_are_as_long_as_may_be_and_end_between_words(tokenizer: EmbedderTokenizer) -> None:
    words = [f"word{'s' * (n % 3 == 0)}" for n in range(40)]
    made, found = slices(("paragraph", " ".join(words), ()), tokenizer=tokenizer, strategy="tokens")
    parts = texts(made, found)
    assert " ".join(parts) == " ".join(words)
    assert [tokenizer.count(part) for part in parts] == [12, 12, 12, 4]


def test_windows_repeat_tokens(tokenizer: EmbedderTokenizer) -> None:
    words = [f"{n}" for n in range(10, 40)]
    made, found = slices(("paragraph", " ".join(words), ()), tokenizer=tokenizer, strategy="tokens", overlap=4)
    parts = [part.split() for part in texts(made, found)]
    assert parts[0] == words[:12]
    assert parts[1] == words[8:20]
    assert parts[-1][-1] == words[-1]


def test_a_window_knows_what_it_lies_under(tokenizer: EmbedderTokenizer) -> None:
    _, found = slices(*QUAY, tokenizer=tokenizer, strategy="tokens")
    assert found[0].heading_path == ("Quay",)
    assert found[-1].heading_path == ("Quay", "Tides")
