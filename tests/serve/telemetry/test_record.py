from __future__ import annotations

import pytest

from serve.telemetry.record import error_code, shed_reason, stages_of


def test_stages_lie_where_they_were_clocked_and_sums_are_left_out() -> None:
    timings = {"resolve_ms": 1.0, "retrieval_ms": 10.0, "embed_ms": 4.0, "search_ms": 5.0, "total_ms": 99.0}
    begun = {"resolve_ms": 100.0, "retrieval_ms": 100.002, "total_ms": 100.0}
    found = stages_of(timings, begun=begun, first_token_at=100.5, started=100.0, ended=102.0)
    assert [stage.name for stage in found] == ["resolve", "retrieval", "embed", "search", "prefill", "decode"]
    starts = {stage.name: stage.start_s for stage in found}
    assert starts["embed"] == pytest.approx(0.002)
    assert starts["search"] == pytest.approx(0.006)
    assert starts["prefill"] == pytest.approx(0.012)
    assert found[-1].seconds == pytest.approx(1.5)


def test_only_plain_words_are_codes() -> None:
    assert error_code(b'{"error": {"code": "model_not_found"}}') == "model_not_found"
    for body in (b"", b"{", b"[]", b'{"error": {"code": 400}}', b'{"error": {"code": "My Secret"}}'):
        assert error_code(body) == ""


def test_what_limits_refuse_is_shed_and_what_is_broken_is_not() -> None:
    assert shed_reason(429, "rate_limited") == "rate_limited"
    assert shed_reason(429, "") == "429"
    assert shed_reason(503, "overloaded") == "overloaded"
    assert shed_reason(503, "unavailable") is None
    assert shed_reason(400, "invalid_request") is None
