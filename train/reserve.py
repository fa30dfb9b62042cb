"""How long measuring at the end will take, so that a time budget leaves room for it. Pure.

A forward pass takes a time of its own, whatever it reads (reading all weights on a CPU, starting all kernels on a GPU),
and a time for every token. Answers are written a token a pass, and short rows are little more than passes: by tokens
alone, and by the speed of training, they would be far cheaper than they are.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ForwardWork:
    """Forward passes without gradients.

    Attributes:
        passes: Their number.
        tokens: What all of them read.
    """

    passes: int = 0
    tokens: int = 0

    def __add__(self, other: ForwardWork) -> ForwardWork:
        """Both."""
        return ForwardWork(self.passes + other.passes, self.tokens + other.tokens)

    def times(self, number: int) -> ForwardWork:
        """So many times this."""
        return ForwardWork(number * self.passes, number * self.tokens)


@dataclass(frozen=True, slots=True)
class ForwardCost:
    """What a forward pass takes on one worker.

    Attributes:
        pass_s: Seconds of a pass, whatever it reads.
        token_s: Seconds for each token on top.
    """

    pass_s: float
    token_s: float

    @classmethod
    def of_two(cls, short: tuple[int, float], long: tuple[int, float]) -> ForwardCost:
        """Take it from two passes, each (tokens, seconds); the long one has more tokens."""
        token_s = max(0.0, (long[1] - short[1]) / (long[0] - short[0]))
        return cls(pass_s=max(0.0, short[1] - short[0] * token_s), token_s=token_s)

    def seconds(self, work: ForwardWork, *, workers: int) -> float:
        """How long so many workers take for work that they share."""
        return (work.passes * self.pass_s + work.tokens * self.token_s) / workers
