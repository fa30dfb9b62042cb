from __future__ import annotations

from pathlib import Path

from serve.residency.standing import Event, Standing
from serve.telemetry import metrics
from serve.telemetry.metrics import DEFINITIONS, Definition, Metrics
from serve.telemetry.record import RequestRecord, Stage
from train.registry.cache_eviction import CachedVersion
from train.registry.cache_pruning import Failure, Pruned


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
    assert "graftwork_errors_total" not in values
    assert values["graftwork_inter_token_seconds"] == [0.1, 0.3]
    assert values["graftwork_cached_tokens_total"] == [4]
    assert values["graftwork_cancelled_total"] == [1]


def test_models_above_the_cap_share_one_label() -> None:
    found = recorded(request("a"), request("b"), request("c"), limit=2)
    assert [labels["model"] for name, _, labels in found if name == "graftwork_requests_total"] == ["a", "b", "other"]


def test_what_a_limit_refused_is_counted_by_its_reason() -> None:
    found = recorded(request(None, status=429, code="rate_limited"), request(status=503, code="unavailable"))
    assert [labels for name, _, labels in found if name == "graftwork_shed_total"] == [{"reason": "rate_limited"}]


def test_stages_and_gaps_are_told_by_model_and_adapter_and_no_more_pairs_than_the_cap() -> None:
    whole = {"stages": (Stage("decode", 0, 0.1),), "gaps_s": (0.1,), "first_token_s": 0.1}
    found = recorded(*(request("a", adapter=f"x@{version}", **whole) for version in range(4)), limit=2)
    for metric in ("stage", "inter_token", "time_to_first_token"):
        labels = [labels for name, _, labels in found if name == f"graftwork_{metric}_seconds"]
        assert [(each["model"], each["adapter"]) for each in labels] == [
            ("a", "x@0"),
            ("a", "x@1"),
            ("a", "other"),
            ("a", "other"),
        ]


def test_an_error_is_counted_also_where_its_stream_had_begun_and_not_where_the_client_left() -> None:
    found = recorded(
        request(code="deadline_exceeded"),
        request(status=404, code="not_found"),
        request(status=502),
        request(),
        request(status=499, cancelled=True),
        request(code="internal_error", cancelled=True),
    )
    assert [labels["code"] for name, _, labels in found if name == "graftwork_errors_total"] == [
        "deadline_exceeded",
        "not_found",
        "502",
    ]


def test_how_things_stand_with_adapters_and_what_happened_to_them() -> None:
    found: list[tuple[str, float, dict[str, str]]] = []
    metrics = Metrics(lambda metric, value, labels: found.append((metric.name, value, labels)), max_label_values=2)
    metrics.set_adapters(Standing(resident=4, in_use=2, waiting=1, swaps=9, worst_wait_s=1.5))
    metrics.count_adapter_event(Event("lost", "ropes@1"))
    states = {labels["state"]: value for name, value, labels in found if name == "graftwork_adapters"}
    assert states == {"resident": 4, "in_use": 2, "waited_for": 1}
    assert ("graftwork_adapter_swaps", 9, {}) in found
    assert ("graftwork_adapter_worst_wait_seconds", 1.5, {}) in found
    assert found[-1] == ("graftwork_adapter_events_total", 1, {"event": "lost"})


def test_what_left_the_adapter_cache_and_what_could_not() -> None:
    found: list[tuple[str, float, dict[str, str]]] = []
    metrics = Metrics(lambda metric, value, labels: found.append((metric.name, value, labels)), max_label_values=2)
    gone = CachedVersion(Path("/cache/a"), 5, 1.0, held=False)
    failed = (Failure(Path("/cache/b"), "Permission denied"),)
    metrics.count_pruned(Pruned(removed=(gone, gone), failed=failed, kept_bytes=7))
    assert found == [
        ("graftwork_adapter_cache_pruned_total", 2, {"outcome": "removed"}),
        ("graftwork_adapter_cache_pruned_total", 1, {"outcome": "failed"}),
        ("graftwork_adapter_cache_bytes", 7, {}),
    ]
