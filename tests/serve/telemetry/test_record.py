from __future__ import annotations

import pytest

from serve.telemetry.record import RequestRecord, error_code, shed_reason, stages_of


def test_stages_lie_where_they_were_clocked_and_sums_are_left_out() -> None:
    timings = {"resolve_ms": 1.0, "retrieval_ms": 10.0, "embed_ms": 4.0, "search_ms": 5.0, "total_ms": 99.0}
    timings |= {"first_token_ms": 488.0, "generate_ms": 1988.0}
    begun = {"resolve_ms": 100.0, "retrieval_ms": 100.002, "total_ms": 100.0}
    begun |= {"first_token_ms": 100.012, "generate_ms": 100.012}
    found = stages_of(timings, begun=begun, first_token_at=100.5, started=100.0)
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
    assert shed_reason(503, "deadline_exceeded") is None
    assert shed_reason(400, "invalid_request") is None


def test_without_a_first_token_the_engines_time_is_one_stage() -> None:
    (found,) = stages_of({"generate_ms": 500.0}, begun={"generate_ms": 101.0}, first_token_at=None, started=100.0)
    assert (found.name, found.start_s, found.seconds) == ("generate", 1.0, 0.5)


@pytest.mark.parametrize(
    ("status", "code", "cancelled", "failed", "server"),
    [
        (200, "", False, False, False),
        (200, "deadline_exceeded", False, True, True),
        (200, "", True, False, False),
        (404, "not_found", False, True, False),
        (503, "unavailable", False, True, True),
        (499, "", True, False, False),
    ],
)
def test_an_error_inside_of_a_stream_is_one_of_the_server(
    status: int, code: str, cancelled: bool, failed: bool, server: bool
) -> None:
    record = RequestRecord("r", "chat", "base", None, "t", None, status, code, 1.0, cancelled=cancelled)
    assert (record.failed, record.server_failed) == (failed, server)
