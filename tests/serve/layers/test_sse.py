from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from serve.layers.sse import StreamWatch


def chunk(text: str) -> bytes:
    content = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**content, "choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


STREAM = chunk("Rope ") + chunk("is [1] long\ndata: ") + b"data: [DONE]\n\n"
EVENT = b'data: {"ours": true}\n\n'


@given(st.lists(st.integers(1, len(STREAM)), max_size=12))
def test_the_stream_passes_unchanged_but_for_one_event_before_done(cuts: list[int]) -> None:
    watch = StreamWatch()
    edges = sorted({0, *cuts, len(STREAM)})
    out = b"".join(watch.feed(STREAM[a:b], final_event=lambda: EVENT) for a, b in itertools.pairwise(edges))
    out += watch.flush()
    assert out == STREAM.replace(b"data: [DONE]", EVENT + b"data: [DONE]")
    assert watch.text == {0: "Rope is [1] long\ndata: "}
    assert watch.done


def test_nothing_is_held_back_of_an_event_that_is_complete() -> None:
    watch = StreamWatch()
    assert watch.feed(chunk("a"), final_event=lambda: EVENT) == chunk("a")


def test_a_stream_that_ends_without_done_loses_nothing() -> None:
    watch = StreamWatch()
    out = watch.feed(chunk("a") + b"data: [DO", final_event=lambda: EVENT) + watch.flush()
    assert out == chunk("a") + b"data: [DO"
    assert not watch.done
