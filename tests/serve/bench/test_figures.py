from __future__ import annotations

import math
from dataclasses import replace

import pytest

from serve.bench.figures import Answered, figures_of, median_figures, percentile, ratios_of, run_of


def answered(sent: float, first: float, *, tokens: int = 5, gap: float = 0.01) -> Answered:
    at = tuple(sent + first + gap * number for number in range(tokens))
    return Answered(sent, at[-1] + 0.001, at, input_tokens=7, output_tokens=tokens)


def test_figures_of_a_run() -> None:
    found = figures_of([answered(0.0, 0.1), answered(0.5, 0.3, gap=0.03), Answered(0.6, 0.7, error="HTTP 500: no")])
    assert (found.completed, found.failed, found.total_input_tokens, found.total_output_tokens) == (2, 1, 14, 10)
    assert found.duration == pytest.approx(0.921)  # from the first request to the end of the last answer
    assert found.request_throughput == pytest.approx(2 / 0.921)
    assert found.output_throughput == pytest.approx(10 / 0.921)
    assert found.median_ttft_ms == pytest.approx(200)
    assert found.p95_ttft_ms == pytest.approx(290)
    assert found.median_tpot_ms == pytest.approx(20)
    assert found.median_itl_ms == pytest.approx(20)
    assert found.p95_itl_ms == pytest.approx(30)


def test_tokens_that_come_together_count_one_by_one() -> None:
    together = Answered(0.0, 1.0, (0.1, 0.9), output_tokens=9)
    assert together.tpot_ms == pytest.approx(100)


def test_an_answer_without_a_token_has_failed() -> None:
    run = run_of([[answered(0, 0.1), Answered(0, 1)]], traffic="base", concurrency=2, client_cpu_s=0.5, seconds=2)
    assert (run.figures.failed, run.errors, run.client_cpu_share) == (1, {"no token came": 1}, 0.25)


def test_nothing_answered_is_no_number() -> None:
    found = figures_of([Answered(0, 1, error="x")])
    assert math.isnan(found.median_ttft_ms)
    assert found.output_throughput == 0


def test_percentiles_lie_between_values() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, share) for share in (0, 50, 95, 100)] == [1, 2.5, pytest.approx(3.85), 4]


def test_each_figure_has_its_own_median() -> None:
    one = figures_of([answered(0, 0.1)])
    many = [replace(one, duration=d, median_ttft_ms=t) for d, t in ((1, 30), (9, 10), (5, 20))]
    found = median_figures(many)
    assert (found.duration, found.median_ttft_ms) == (5, 20)


def test_ratios_are_ours_over_the_others() -> None:
    def run(first: float, gap: float, concurrency: int = 1, traffic: str = "base"):  # type: ignore[no-untyped-def]
        answers = [[answered(0, first, gap=gap)]]
        return run_of(answers, traffic=traffic, concurrency=concurrency, client_cpu_s=0, seconds=1)

    ours = (run(0.03, 0.02), run(0.05, 0.02, 16), run(0.03, 0.02, traffic="adapter"))
    found = ratios_of(ours, {"vllm": (run(0.02, 0.01), run(0.05, 0.04, 16)), "other": ()})
    assert [(one.over, one.traffic, one.concurrency) for one in found] == [("vllm", "base", 1), ("vllm", "base", 16)]
    assert found[0].ttft == pytest.approx(1.5)
    assert found[0].ttft_difference_ms == pytest.approx(10)
    assert found[0].tpot == pytest.approx(2)
    assert found[0].output_throughput < 1 < found[1].output_throughput
