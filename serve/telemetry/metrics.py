"""The metrics of a replica, in one table, recorded once per request at its end.

They go through Ray's agent of the node, which serves them in Prometheus' text format with `ray_` before each name
(NAMESPACE in ray/_private/telemetry/open_telemetry_metric_recorder.py) and the worker's id among the labels, so that
two replicas never write to one series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from serve.residency.standing import Event, Standing
from serve.telemetry.labels import LabelCap, PairCap
from serve.telemetry.record import RequestRecord, shed_reason
from train.registry.cache_pruning import Pruned

Kind = Literal["counter", "histogram", "gauge"]

# Upper bounds in seconds. Requests and first tokens: those of vLLM 0.29 for its own histograms of the same quantities
# (vllm/v1/metrics/loggers.py), shortened, so that both can be laid over each other. Between tokens: from 2 ms (small
# models on a large GPU) to seconds (a CPU with a queue). Stages start at 0.1 ms, as most layers take less than one.
REQUEST_S = (0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 240.0, 480.0)
FIRST_TOKEN_S = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
TOKEN_GAP_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)
STAGE_S = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric: what it counts, its labels, and the buckets of a histogram."""

    name: str
    kind: Kind
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUESTS = Definition(
    "graftwork_requests_total", "counter", "Requests that ended.", ("route", "model", "status", "code")
)
SECONDS = Definition(
    "graftwork_request_seconds",
    "histogram",
    "Seconds from a request's start to its end.",
    ("route", "model"),
    REQUEST_S,
)
FIRST_TOKEN = Definition(
    "graftwork_time_to_first_token_seconds",
    "histogram",
    "Seconds from a request's start to the first token of its stream.",
    ("model", "adapter"),
    FIRST_TOKEN_S,
)
TOKEN_GAP = Definition(
    "graftwork_inter_token_seconds",
    "histogram",
    "Seconds between chunks of a stream.",
    ("model", "adapter"),
    TOKEN_GAP_S,
)
STAGE = Definition(
    "graftwork_stage_seconds",
    "histogram",
    "Seconds that a stage of a request took.",
    ("stage", "model", "adapter"),
    STAGE_S,
)
_TOKEN_LABELS = ("model", "adapter", "tenant")
PROMPT_TOKENS = Definition("graftwork_prompt_tokens_total", "counter", "Tokens of prompts.", _TOKEN_LABELS)
CACHED_TOKENS = Definition(
    "graftwork_cached_tokens_total", "counter", "Tokens of prompts that the engine's cache held.", _TOKEN_LABELS
)
COMPLETION_TOKENS = Definition("graftwork_completion_tokens_total", "counter", "Tokens generated.", _TOKEN_LABELS)
ERRORS = Definition(
    "graftwork_errors_total",
    "counter",
    "Requests that ended with an error, also those whose stream had begun.",
    ("route", "model", "code"),
)
CANCELLED = Definition(
    "graftwork_cancelled_total", "counter", "Requests whose client left before the end.", ("route", "model")
)
SHED = Definition("graftwork_shed_total", "counter", "Requests turned away by a limit.", ("reason",))
QUOTA_AWAY = Definition("graftwork_quota_away_total", "counter", "Requests whose quota could not be asked for.")
RUNNING = Definition("graftwork_running", "gauge", "Generations that a replica works on now.")
WAITING = Definition("graftwork_waiting", "gauge", "Generations that wait for admission now.")
ADAPTERS = Definition("graftwork_adapters", "gauge", "Adapters in the engine, in use and waited for now.", ("state",))
ADAPTER_EVENTS = Definition(
    "graftwork_adapter_events_total",
    "counter",
    "Adapters loaded, evicted and refused by the engine, and corrections of what it held.",
    ("event",),
)
ADAPTER_SWAPS = Definition("graftwork_adapter_swaps", "gauge", "Adapters loaded in another's place since the start.")
ADAPTER_WAIT = Definition(
    "graftwork_adapter_worst_wait_seconds", "gauge", "Longest wait of a request for its adapter's turn since the start."
)
CACHE_BYTES = Definition(
    "graftwork_adapter_cache_bytes", "gauge", "Bytes of adapters in the node's cache after it was pruned last."
)
CACHE_PRUNED = Definition(
    "graftwork_adapter_cache_pruned_total",
    "counter",
    "Adapter versions deleted from the node's cache, and deletions that failed.",
    ("outcome",),
)
LOOP_LAG = Definition(
    "graftwork_event_loop_lag_seconds", "histogram", "Seconds that a timer of the replica came late.", (), LAG_S
)

DEFINITIONS = (
    REQUESTS,
    SECONDS,
    FIRST_TOKEN,
    TOKEN_GAP,
    STAGE,
    PROMPT_TOKENS,
    CACHED_TOKENS,
    COMPLETION_TOKENS,
    ERRORS,
    CANCELLED,
    SHED,
    QUOTA_AWAY,
    RUNNING,
    WAITING,
    ADAPTERS,
    ADAPTER_EVENTS,
    ADAPTER_SWAPS,
    ADAPTER_WAIT,
    CACHE_BYTES,
    CACHE_PRUNED,
    LOOP_LAG,
)


class Recorder(Protocol):
    """Where values go: one metric, one value, its labels."""

    def __call__(self, metric: Definition, value: float, labels: dict[str, str]) -> None:
        """Count, observe or set the value."""


class Metrics:
    """Turns what happened into values of the metrics; labels that come from outside pass through a cap each."""

    def __init__(self, record: Recorder, *, max_label_values: int) -> None:
        """Take where values go and how many values a label may have."""
        self._record = record
        self._models = LabelCap(max_label_values)
        self._adapters = PairCap(max_label_values)
        self._tenants = LabelCap(max_label_values)
        self._codes = LabelCap(max_label_values)

    def count_request(self, request: RequestRecord) -> None:
        """Record a request that has ended."""
        model = self._models.label(request.model)
        adapter = self._adapters.label(model, request.adapter)
        code = self._codes.label(request.code)
        where = {"route": request.route, "model": model}
        self._record(REQUESTS, 1, {**where, "status": str(request.status), "code": code})
        self._record(SECONDS, request.seconds, where)
        for stage in request.stages:
            self._record(STAGE, stage.seconds, {"stage": stage.name, "model": model, "adapter": adapter})
        if request.first_token_s is not None:
            self._record(FIRST_TOKEN, request.first_token_s, {"model": model, "adapter": adapter})
        for gap in request.gaps_s:
            self._record(TOKEN_GAP, gap, {"model": model, "adapter": adapter})
        whose = {"model": model, "adapter": adapter, "tenant": self._tenants.label(request.tenant)}
        for metric, count in (
            (PROMPT_TOKENS, request.prompt_tokens),
            (CACHED_TOKENS, request.cached_tokens or 0),
            (COMPLETION_TOKENS, request.completion_tokens),
        ):
            if count:
                self._record(metric, count, whose)
        reason = code if request.code else str(request.status)
        if request.failed:
            self._record(ERRORS, 1, {**where, "code": reason})
        if request.cancelled:
            self._record(CANCELLED, 1, where)
        if shed_reason(request.status, request.code) is not None:
            self._record(SHED, 1, {"reason": reason})

    def count_quota_away(self) -> None:
        """Record that a request went on although its quota could not be asked for."""
        self._record(QUOTA_AWAY, 1, {})

    def set_load(self, *, running: int, waiting: int) -> None:
        """Record how many generations the replica works on and how many wait."""
        self._record(RUNNING, running, {})
        self._record(WAITING, waiting, {})

    def set_adapters(self, standing: Standing) -> None:
        """Record how things stand with a replica's adapters."""
        for state, count in (
            ("resident", standing.resident),
            ("in_use", standing.in_use),
            ("waited_for", standing.waiting),
        ):
            self._record(ADAPTERS, count, {"state": state})
        self._record(ADAPTER_SWAPS, standing.swaps, {})
        self._record(ADAPTER_WAIT, standing.worst_wait_s, {})

    def count_adapter_event(self, event: Event) -> None:
        """Record what happened to an adapter."""
        self._record(ADAPTER_EVENTS, 1, {"event": event.kind})

    def count_pruned(self, pruned: Pruned) -> None:
        """Record a pruning of the node's adapter cache."""
        for outcome, count in (("removed", len(pruned.removed)), ("failed", len(pruned.failed))):
            if count:
                self._record(CACHE_PRUNED, count, {"outcome": outcome})
        self._record(CACHE_BYTES, pruned.kept_bytes, {})

    def observe_lag(self, seconds: float) -> None:
        """Record how late the event loop was."""
        self._record(LOOP_LAG, seconds, {})


def ray_recorder() -> Recorder:
    """A recorder that hands values to Ray; to be made in a process of a cluster, once."""
    from ray.util.metrics import Counter, Gauge, Histogram

    def maker(metric: Definition) -> Callable[[float, dict[str, str]], None]:
        if metric.kind == "counter":
            counter = Counter(metric.name, description=metric.description, tag_keys=metric.labels)
            return lambda value, labels: counter.inc(value, tags=labels)
        if metric.kind == "gauge":
            gauge = Gauge(metric.name, description=metric.description, tag_keys=metric.labels)
            return lambda value, labels: gauge.set(value, tags=labels)
        histogram = Histogram(
            metric.name, description=metric.description, boundaries=list(metric.buckets), tag_keys=metric.labels
        )
        return lambda value, labels: histogram.observe(value, tags=labels)

    writers = {metric.name: maker(metric) for metric in DEFINITIONS}

    def record(metric: Definition, value: float, labels: dict[str, str]) -> None:
        writers[metric.name](value, labels)

    return record
