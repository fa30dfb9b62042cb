"""When the tokens of a streamed answer came, with as little work for each as can be. Pure."""

from __future__ import annotations

import json

_END = b"\n\n"
_DATA = b"data:"
_DONE = b"[DONE]"
_CHOICE = (b'"choices":[{', b'"choices": [{')
_ERROR = (b'"error":{', b'"error": {')
_USAGE = (b'"usage":{', b'"usage": {')


class StreamTimes:
    """Reads one stream of server-sent events; parses JSON up to the first token and of the last events only.

    Attributes:
        tokens_at: When each event with a token came, in the seconds that `feed` was given.
        done: Whether the stream came to its mark.
        error: The error that came inside of it; None where none did.
    """

    def __init__(self) -> None:
        """Start at the beginning of a stream."""
        self.tokens_at: list[float] = []
        self.done = False
        self.error: str | None = None
        self._rest = b""
        self._usage = b""

    def feed(self, data: bytes, *, at: float) -> None:
        """Take bytes of the stream.

        Args:
            data: The next bytes.
            at: When they came, in seconds.
        """
        *events, self._rest = (self._rest + data).split(_END)
        for event in events:
            if event.startswith(_DATA):
                self._read(event[len(_DATA) :], at)

    def usage(self) -> tuple[int, int]:
        """Tokens of prompt and answer, as the server counts them; zeros where it did not say."""
        if not self._usage:
            return 0, 0
        usage = json.loads(self._usage).get("usage") or {}
        return int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)

    def _read(self, event: bytes, at: float) -> None:
        if any(mark in event for mark in _CHOICE):
            if self.tokens_at or _has_token(event):
                self.tokens_at.append(at)
        elif _DONE in event:
            self.done = True
        elif any(mark in event for mark in _ERROR):
            self.error = str(json.loads(event)["error"].get("message"))
        if any(mark in event for mark in _USAGE):
            self._usage = event


def _has_token(event: bytes) -> bool:
    """Whether an event is more than the first one, which names the speaker."""
    choices = json.loads(event).get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return bool(delta.get("content")) or not delta.get("role")
