from __future__ import annotations

import math

import pytest

from deploy.local.traffic import parse, quantile, traffic

# As Ray 2.60's agent writes it.
TEXT = """# HELP ray_graftwork_requests_total Requests that ended.
# TYPE ray_graftwork_requests_total counter
ray_graftwork_requests_total{{WorkerId="w",code="none",model="base",route="chat",status="200"}} {ok}.0
ray_graftwork_requests_total{{WorkerId="w",code="unavailable",model="base",route="chat",status="503"}} {bad}.0
# TYPE ray_graftwork_errors_total counter
ray_graftwork_errors_total{{WorkerId="w",code="unavailable",model="base",route="chat"}} {bad}.0
# TYPE ray_graftwork_time_to_first_token_seconds histogram
ray_graftwork_time_to_first_token_seconds_bucket{{WorkerId="w",adapter="none",le="0.1",model="base"}} {ok}.0
ray_graftwork_time_to_first_token_seconds_bucket{{WorkerId="w",adapter="none",le="+Inf",model="base"}} {ok}.0
ray_graftwork_prompt_tokens_total{{WorkerId="w",adapter="none",model="base",tenant="t"}} {prompt}.0
ray_graftwork_cached_tokens_total{{WorkerId="w",adapter="none",model="base",tenant="t"}} {cached}.0
ray_graftwork_running{{WorkerId="w"}} 2.0
ray_graftwork_running{{WorkerId="v"}} 1.0
ray_node_cpu_count{{ip="127.0.0.1"}} 2.0
"""


def test_rates_quantiles_and_shares_come_from_what_grew() -> None:
    before = parse(TEXT.format(ok=10, bad=1, prompt=100, cached=0), at=5.0)
    after = parse(TEXT.format(ok=20, bad=3, prompt=200, cached=25), at=7.0)
    found = traffic(before, after)
    (model,) = found.models
    assert (found.running, model.model) == (3, "base")
    assert (model.requests_per_s, model.errors_per_s, model.cached_share) == (6.0, 1.0, 0.25)
    assert model.first_token_p50_s == pytest.approx(0.05)


def test_a_counter_that_fell_counts_from_nothing() -> None:
    before = parse(TEXT.format(ok=100, bad=0, prompt=1, cached=0), at=0.0)
    after = parse(TEXT.format(ok=4, bad=0, prompt=1, cached=0), at=1.0)
    assert traffic(before, after).models[0].requests_per_s == 4.0


def test_a_quantile_above_all_buckets_is_the_largest_bound_and_of_nothing_is_none() -> None:
    assert quantile({1.0: 0.0, math.inf: 4.0}, 0.5) == 1.0
    assert quantile({1.0: 2.0, 2.0: 4.0, math.inf: 4.0}, 0.75) == pytest.approx(1.5)
    assert quantile({1.0: 0.0, math.inf: 0.0}, 0.5) is None
    assert quantile({}, 0.5) is None
