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
    watch = StreamWatch(reads_text=True)
    edges = sorted({0, *cuts, len(STREAM)})
    out = b"".join(watch.feed(STREAM[a:b], final_event=lambda: EVENT) for a, b in itertools.pairwise(edges))
    out += watch.flush()
    assert out == STREAM.replace(b"data: [DONE]", EVENT + b"data: [DONE]")
    assert watch.text == {0: "Rope is [1] long\ndata: "}
    assert watch.done


def test_where_the_text_is_not_wanted_nothing_behind_its_first_piece_is_parsed() -> None:
    watch = StreamWatch(reads_text=False)
    stream = chunk("") + chunk("a") + b"data: {no JSON\n\n" + b"data: [DONE]\n\n"
    out = watch.feed(stream, final_event=lambda: EVENT)
    assert out == stream.replace(b"data: [DONE]", EVENT + b"data: [DONE]")
    assert watch.begun
    assert (watch.envelope["id"], watch.text) == ("x", {})


def test_the_choices_of_a_stream_are_kept_apart() -> None:
    watch = StreamWatch(reads_text=True)
    for index, text in ((0, "a"), (1, "b"), (0, "c")):
        choice = {"index": index, "text": text}
        watch.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n", final_event=lambda: EVENT)
    assert watch.text == {0: "ac", 1: "b"}


def test_nothing_is_held_back_of_an_event_that_is_complete() -> None:
    watch = StreamWatch(reads_text=True)
    assert watch.feed(chunk("a"), final_event=lambda: EVENT) == chunk("a")


def test_a_stream_that_ends_without_done_loses_nothing() -> None:
    watch = StreamWatch(reads_text=True)
    out = watch.feed(chunk("a") + b"data: [DO", final_event=lambda: EVENT) + watch.flush()
    assert out == chunk("a") + b"data: [DO"
    assert not watch.done
