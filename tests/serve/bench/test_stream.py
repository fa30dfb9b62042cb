from __future__ import annotations

import json

from serve.bench.stream import StreamTimes


def event(delta: dict[str, object], **more: object) -> bytes:
    return (
        b"data: "
        + json.dumps({"choices": [{"index": 0, "delta": delta}], **more}, separators=(",", ":")).encode()
        + b"\n\n"
    )


SPEAKER = event({"role": "assistant", "content": ""})
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3}}\n\n'
OURS = b'data: {"choices":[],"graftwork":{"timings":{}}}\n\n'
DONE = b"data: [DONE]\n\n"


def test_times_of_tokens_and_usage() -> None:
    times = StreamTimes()
    for at, data in enumerate((SPEAKER, event({"content": "a"}), event({"content": "b"}), USAGE + OURS, DONE)):
        times.feed(data, at=at)
    assert times.tokens_at == [1, 2]
    assert times.usage() == (11, 3)
    assert (times.done, times.error) == (True, None)


def test_the_first_token_counts_though_it_has_no_text_yet() -> None:
    times = StreamTimes()
    times.feed(SPEAKER + event({"content": ""}), at=5)
    assert times.tokens_at == [5]


def test_events_that_are_cut_or_come_together() -> None:
    times = StreamTimes()
    whole = SPEAKER + event({"content": "a\n\ndata: x"}) + event({"content": "b"}) + DONE
    times.feed(whole[:30], at=1)
    times.feed(whole[30:-5], at=2)
    times.feed(whole[-5:], at=3)
    assert times.tokens_at == [2, 2]
    assert times.done


def test_an_error_inside_of_a_stream() -> None:
    times = StreamTimes()
    times.feed(event({"content": "a"}) + b'data: {"error":{"message":"no more","code":"x"}}\n\n' + DONE, at=1)
    assert (times.error, times.usage()) == ("no more", (0, 0))


def test_json_with_blanks() -> None:
    times = StreamTimes()
    times.feed(b'data: {"choices": [{"delta": {"content": "a"}}], "usage": null}\n\n', at=1)
    times.feed(b'data: {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}\n\n', at=2)
    assert (times.tokens_at, times.usage()) == ([1], (2, 1))
