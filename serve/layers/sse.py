"""Watching a server-sent event stream without changing it, and putting one event in before its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from serve.layers.call import JsonObject

_DONE = b"data: [DONE]"
_DATA = b"data: "
_END = b"\n\n"


class Events:
    """Cuts a stream into its events; what vLLM sends at once is one, so that nothing waits here in practice."""

    def __init__(self) -> None:
        """Start at the beginning of a stream."""
        self._held = b""

    def feed(self, data: bytes, *, last: bool) -> list[bytes]:
        """Take bytes of the stream and return the events that are whole, each with the blank line behind it.

        Args:
            data: The next bytes.
            last: Whether these are the last ones; what is left then comes as it is.
        """
        *whole, rest = (self._held + data).split(_END)
        events = [event + _END for event in whole]
        self._held = b"" if last else rest
        return [*events, rest] if last and rest else events


@dataclass(slots=True)
class StreamWatch:
    """Follows one OpenAI stream: collects the text of its deltas, where it is wanted, and finds its `[DONE]`.

    Bytes go through as they came; only a tail that may be the start of `data: [DONE]` is held back until it is known.
    Where the text is not wanted, no chunk behind the first one with text is parsed.

    Attributes:
        reads_text: Whether the text is wanted.
        envelope: id, object, created and model of the last chunk that was parsed, for an event of ours.
        done: Whether `[DONE]` was seen.
        begun: Whether a chunk carried text.
    """

    reads_text: bool
    envelope: JsonObject = field(default_factory=dict)
    done: bool = False
    begun: bool = False
    _pieces: dict[int, list[str]] = field(default_factory=dict)
    _line: bytes = b""
    _held: bytes = b""

    @property
    def text(self) -> dict[int, str]:
        """Text of all deltas so far, by choice index; empty where it is not wanted."""
        return {index: "".join(pieces) for index, pieces in self._pieces.items()}

    def feed(self, data: bytes, *, final_event: Callable[[], bytes]) -> bytes:
        """Take bytes of the stream and return those to pass on.

        Args:
            data: The next bytes.
            final_event: Makes the event that goes in before `[DONE]`; called at most once.
        """
        data = self._held + data
        self._held = b""
        out: list[bytes] = []
        position = 0
        while position < len(data):
            end = data.find(b"\n", position)
            if end < 0:
                rest = data[position:]
                if not self._line and _DONE.startswith(rest[: len(_DONE)]):
                    self._held = rest
                else:
                    self._line += rest
                    out.append(rest)
                break
            piece = data[position : end + 1]
            line, self._line = self._line + piece, b""
            if line.rstrip() == _DONE and not self.done:
                self.done = True
                out.append(final_event())
            else:
                self._read(line.rstrip())
            out.append(piece)
            position = end + 1
        return b"".join(out)

    def flush(self) -> bytes:
        """Bytes still held back, once the stream has ended."""
        held, self._held = self._held, b""
        return held

    def _read(self, line: bytes) -> None:
        if (self.begun and not self.reads_text) or not line.startswith(_DATA) or line == _DONE:
            return
        chunk = json.loads(line[len(_DATA) :])
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return
        self.envelope = {key: chunk[key] for key in ("id", "object", "created", "model") if key in chunk}
        for choice in choices:
            piece = choice.get("text") or (choice.get("delta") or {}).get("content")
            if piece:
                self.begun = True
                if self.reads_text:
                    self._pieces.setdefault(choice.get("index", 0), []).append(piece)
