"""What was measured, and the ratios that it gives, in the words of `vllm bench serve`. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

_MS = 1000.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One request, times in seconds of one clock.

    Attributes:
        sent: When it was sent.
        ended: When its answer was over.
        tokens_at: When each event with a token came, in order; empty where none came.
        input_tokens: Tokens of the prompt, the chat template's counted; by the server.
        output_tokens: Tokens of the answer; by the server.
        error: What went wrong; None where nothing did.
    """

    sent: float
    ended: float
    tokens_at: tuple[float, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None

    @property
    def ttft_ms(self) -> float:
        """Milliseconds to the first token."""
        return (self.tokens_at[0] - self.sent) * _MS

    @property
    def tpot_ms(self) -> float:
        """Milliseconds for each token behind the first."""
        return (self.tokens_at[-1] - self.tokens_at[0]) * _MS / max(1, self.output_tokens - 1)


@dataclass(frozen=True, slots=True)
class Figures:
    """One run, or the medians of several.

    Rates are per second of the run, which lasts from the first request to the last token; `tpot` is a request's mean
    time for each token behind the first, `itl` the time between two events of a stream.
    """

    completed: float
    failed: float
    duration: float
    total_input_tokens: float
    total_output_tokens: float
    request_throughput: float
    output_throughput: float
    median_ttft_ms: float
    p95_ttft_ms: float
    median_tpot_ms: float
    p95_tpot_ms: float
    median_itl_ms: float
    p95_itl_ms: float


@dataclass(frozen=True, slots=True)
class Run:
    """All repeats of one kind of traffic at one concurrency.

    Attributes:
        traffic: `base` or `adapter`.
        concurrency: Requests that were under way at once.
        figures: The median of each figure over the repeats.
        repeats: The figures of each.
        client_cpu_share: Share of one core that the client itself took.
        errors: What went wrong, and how often.
    """

    traffic: str
    concurrency: int
    figures: Figures
    repeats: tuple[Figures, ...]
    client_cpu_share: float
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One server over another, same traffic and concurrency.

    Attributes:
        over: Name of the other.
        traffic: `base` or `adapter`.
        concurrency: Requests that were under way at once.
        ttft: Median time to the first token over the other's; below 1 is faster.
        ttft_difference_ms: The same as a difference.
        tpot: Median time per token over the other's; below 1 is faster.
        output_throughput: Tokens per second over the other's; above 1 is faster.
    """

    over: str
    traffic: str
    concurrency: int
    ttft: float
    ttft_difference_ms: float
    tpot: float
    output_throughput: float


def figures_of(answers: Sequence[Answered]) -> Figures:
    """The figures of one run; not-a-number where nothing was answered."""
    good = [answer for answer in answers if _is_good(answer)]
    duration = max((a.ended for a in answers), default=0.0) - min((a.sent for a in answers), default=0.0)
    output = sum(answer.output_tokens for answer in good)
    gaps = [
        (after - before) * _MS
        for answer in good
        for before, after in zip(answer.tokens_at, answer.tokens_at[1:], strict=False)
    ]
    ttfts, tpots = [answer.ttft_ms for answer in good], [answer.tpot_ms for answer in good]
    return Figures(
        completed=len(good),
        failed=len(answers) - len(good),
        duration=duration,
        total_input_tokens=sum(answer.input_tokens for answer in good),
        total_output_tokens=output,
        request_throughput=len(good) / duration if duration else math.nan,
        output_throughput=output / duration if duration else math.nan,
        median_ttft_ms=percentile(ttfts, 50),
        p95_ttft_ms=percentile(ttfts, 95),
        median_tpot_ms=percentile(tpots, 50),
        p95_tpot_ms=percentile(tpots, 95),
        median_itl_ms=percentile(gaps, 50),
        p95_itl_ms=percentile(gaps, 95),
    )


def run_of(
    repeats: Sequence[Sequence[Answered]], *, traffic: str, concurrency: int, client_cpu_s: float, seconds: float
) -> Run:
    """Put the repeats of one kind of traffic together.

    Args:
        repeats: The answers of each.
        traffic: Kind of traffic.
        concurrency: Requests that were under way at once.
        client_cpu_s: CPU seconds of the client's process.
        seconds: Seconds of the clock meanwhile.
    """
    each = tuple(figures_of(answers) for answers in repeats)
    wrong = Counter(
        answer.error or "no token came" for answers in repeats for answer in answers if not _is_good(answer)
    )
    return Run(
        traffic=traffic,
        concurrency=concurrency,
        figures=median_figures(each),
        repeats=each,
        client_cpu_share=client_cpu_s / seconds if seconds else 0.0,
        errors=dict(wrong),
    )


def median_figures(repeats: Sequence[Figures]) -> Figures:
    """The median of each figure by itself."""
    return Figures(*(statistics.median(getattr(one, field.name) for one in repeats) for field in fields(Figures)))


def ratios_of(ours: Sequence[Run], others: Mapping[str, Sequence[Run]]) -> tuple[Ratio, ...]:
    """Hold our runs against those of others, where both have the same traffic and concurrency."""
    found: list[Ratio] = []
    for name, runs in others.items():
        theirs = {(run.traffic, run.concurrency): run.figures for run in runs}
        for run in ours:
            other = theirs.get((run.traffic, run.concurrency))
            if other is not None:
                found.append(_ratio(run.figures, other, name, run))
    return tuple(found)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many per cent lie, linear between two as numpy has it; not-a-number of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _is_good(answer: Answered) -> bool:
    return answer.error is None and bool(answer.tokens_at)


def _ratio(ours: Figures, other: Figures, name: str, run: Run) -> Ratio:
    return Ratio(
        over=name,
        traffic=run.traffic,
        concurrency=run.concurrency,
        ttft=ours.median_ttft_ms / other.median_ttft_ms if other.median_ttft_ms else math.nan,
        ttft_difference_ms=ours.median_ttft_ms - other.median_ttft_ms,
        tpot=ours.median_tpot_ms / other.median_tpot_ms if other.median_tpot_ms else math.nan,
        output_throughput=ours.output_throughput / other.output_throughput if other.output_throughput else math.nan,
    )
