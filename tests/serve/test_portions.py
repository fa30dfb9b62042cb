from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from indexer.errors import InputError
from serve.embeddings import EmbeddingRequest
from serve.portions import Portions, shares


@dataclass
class Encoder:
    """Gives a text the number behind its letter as its vector; one portion at a time may be held up."""

    max_tokens: int = 4
    portions: list[tuple[str, list[str]]] = field(default_factory=list)
    going: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    bad: str = ""

    def __post_init__(self) -> None:
        self.going.set()

    @property
    def tokenizer(self) -> Encoder:
        return self

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode("query", texts)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode("document", texts)

    def _encode(self, kind: str, texts: Sequence[str]) -> np.ndarray:
        self.portions.append((kind, [*texts]))
        self.begun.set()
        assert self.going.wait(5)
        if self.bad in texts:
            raise InputError("no usable vector")
        return np.array([[float(text[1:])] for text in texts], dtype=np.float32)


def asked(letter: str, count: int, *, query: bool = False) -> EmbeddingRequest:
    return EmbeddingRequest(texts=tuple(f"{letter}{number}" for number in range(count)), query=query)


def portions(encoder: Encoder, *, size: int = 4) -> Portions:
    return Portions(encoder, wait_s=0.01, size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("waiting", "given"),
    [
        ([9], [4]),
        ([2], [2]),
        ([9, 9], [2, 2]),
        ([1, 9], [1, 3]),
        ([9, 1, 9], [2, 1, 1]),
        ([1] * 6, [1, 1, 1, 1, 0, 0]),
        ([], []),
    ],
)
def test_a_portion_has_as_many_texts_of_each_request_as_it_can(waiting: list[int], given: list[int]) -> None:
    assert shares(waiting, size=4) == given


async def test_two_requests_share_a_portion_and_each_gets_its_own_vectors() -> None:
    encoder = Encoder()
    together = portions(encoder)
    first, second = await asyncio.gather(together.embed(asked("a", 3)), together.embed(asked("b", 4)))
    assert encoder.portions[0] == ("document", ["a0", "a1", "b0", "b1"])
    assert first.vectors.ravel().tolist() == [0, 1, 2]
    assert second.vectors.ravel().tolist() == [0, 1, 2, 3]
    assert (first.tokens, second.tokens) == (3, 4)
    assert all(len(texts) <= 4 for _, texts in encoder.portions)


async def test_queries_and_documents_are_embedded_apart_and_take_turns() -> None:
    encoder = Encoder()
    together = portions(encoder)
    await asyncio.gather(together.embed(asked("d", 8)), together.embed(asked("q", 2, query=True)))
    assert [kind for kind, _ in encoder.portions] == ["document", "query", "document"]


async def test_a_short_request_does_not_wait_for_a_long_ones_end() -> None:
    encoder = Encoder()
    together = portions(encoder)
    encoder.going.clear()
    long = asyncio.create_task(together.embed(asked("a", 400)))
    await asyncio.to_thread(encoder.begun.wait, 5)
    short = asyncio.create_task(together.embed(asked("b", 1)))
    await asyncio.sleep(0.02)
    encoder.going.set()
    await short
    assert not long.done()
    assert len(encoder.portions) <= 3
    assert len((await long).vectors) == 400


async def test_a_request_that_is_given_up_costs_no_further_portion() -> None:
    encoder = Encoder()
    together = portions(encoder)
    encoder.going.clear()
    left = asyncio.create_task(together.embed(asked("a", 2048)))
    await asyncio.to_thread(encoder.begun.wait, 5)
    stays = asyncio.create_task(together.embed(asked("b", 6)))
    await asyncio.sleep(0.02)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    encoder.going.set()
    assert len((await stays).vectors) == 6
    assert [text for _, texts in encoder.portions for text in texts if text.startswith("a")] == ["a0", "a1", "a2", "a3"]
    assert len((await together.embed(asked("c", 1))).vectors) == 1


async def test_a_text_that_is_too_long_is_named_and_nothing_is_embedded() -> None:
    encoder = Encoder()
    request = EmbeddingRequest(texts=("a1", "one two three four five"), query=False)
    with pytest.raises(InputError, match=r"Text 1 .* has 5 tokens, the embedder reads 4"):
        await portions(encoder).embed(request)
    assert encoder.portions == []


async def test_a_text_without_a_vector_is_the_error_of_its_own_request() -> None:
    encoder = Encoder(bad="b1")
    together = portions(encoder)
    good, bad = await asyncio.gather(
        together.embed(asked("a", 2)), together.embed(asked("b", 2)), return_exceptions=True
    )
    assert isinstance(bad, InputError)
    assert not isinstance(good, BaseException)
    assert len(good.vectors) == 2


async def test_the_loop_runs_while_texts_are_embedded() -> None:
    encoder = Encoder()
    encoder.going.clear()
    task = asyncio.create_task(portions(encoder).embed(asked("a", 9)))
    await asyncio.to_thread(encoder.begun.wait, 5)
    await asyncio.sleep(0)
    assert not task.done()
    encoder.going.set()
    assert len((await task).vectors) == 9
