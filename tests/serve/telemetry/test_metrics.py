from __future__ import annotations

from serve.telemetry import metrics
from serve.telemetry.metrics import DEFINITIONS, Definition, Metrics
from serve.telemetry.record import RequestRecord, Stage


def recorded(*requests: RequestRecord, limit: int = 9) -> list[tuple[str, float, dict[str, str]]]:
    found: list[tuple[str, float, dict[str, str]]] = []

    def record(metric: Definition, value: float, labels: dict[str, str]) -> None:
        assert set(labels) == set(metric.labels)
        assert metric.kind != "counter" or value > 0
        found.append((metric.name, value, labels))

    counting = Metrics(record, max_label_values=limit)
    for request in requests:
        counting.count_request(request)
    return found


def request(model: str | None = "base", **changes: object) -> RequestRecord:
    values: dict[str, object] = {
        "request_id": "r",
        "route": "chat",
        "model": model,
        "adapter": None,
        "tenant": "t",
        "key_id": None,
        "status": 200,
        "code": "",
        "seconds": 1.0,
        **changes,
    }
    return RequestRecord(**values)  # type: ignore[arg-type]


def test_every_metric_is_ours_described_and_only_histograms_have_rising_buckets() -> None:
    for metric in DEFINITIONS:
        assert metric.name.startswith("graftwork_")
        assert metric.description.endswith(".")
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert {value for value in vars(metrics).values() if isinstance(value, Definition)} == set(DEFINITIONS)


def test_a_request_is_counted_with_all_it_says() -> None:
    found = recorded(
        request(
            stages=(Stage("resolve", 0, 0.001),),
            first_token_s=0.2,
            gaps_s=(0.1, 0.3),
            prompt_tokens=8,
            cached_tokens=4,
            completion_tokens=3,
            cancelled=True,
        )
    )
    values = {name: [value for other, value, _ in found if other == name] for name, _, _ in found}
    assert values["graftwork_requests_total"] == [1]
    assert values["graftwork_stage_seconds"] == [0.001]
    assert values["graftwork_inter_token_seconds"] == [0.1, 0.3]
    assert values["graftwork_cached_tokens_total"] == [4]
    assert values["graftwork_cancelled_total"] == [1]


def test_models_above_the_cap_share_one_label() -> None:
    found = recorded(request("a"), request("b"), request("c"), limit=2)
    assert [labels["model"] for name, _, labels in found if name == "graftwork_requests_total"] == ["a", "b", "other"]


def test_what_a_limit_refused_is_counted_by_its_reason() -> None:
    found = recorded(request(None, status=429, code="rate_limited"), request(status=503, code="unavailable"))
    assert [labels for name, _, labels in found if name == "graftwork_shed_total"] == [{"reason": "rate_limited"}]
