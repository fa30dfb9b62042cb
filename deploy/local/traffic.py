"""What the metrics of an instance say between two looks: rates, quantiles, shares. Pure but for `scrape`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic import JsonValue

from indexer.errors import UnavailableError

# Ray puts this before every name of ours.
_PREFIX = "ray_graftwork_"
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series; the name without Ray's prefix and ours."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Scrape:
    """All of our samples at one moment, in seconds of any one clock."""

    at: float
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class ModelTraffic:
    """One model between two scrapes.

    Attributes:
        model: Its name, 'none' of requests that named no known model.
        requests_per_s: Requests that ended.
        errors_per_s: Those that ended with an error, also inside of a stream.
        first_token_p50_s: Median of the time to the first token; None without a stream.
        first_token_p95_s: Its 95th percentile.
        tokens_per_s: Tokens generated.
        cached_share: Share of prompt tokens that the engine's cache held; None without a prompt.
    """

    model: str
    requests_per_s: float
    errors_per_s: float
    first_token_p50_s: float | None
    first_token_p95_s: float | None
    tokens_per_s: float
    cached_share: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """The instance between two scrapes.

    Attributes:
        seconds: Time between them.
        running: Generations that its replicas work on.
        waiting: Generations that wait for admission.
        shed_per_s: Requests turned away by a limit; these name no model, as most are refused before it is read.
        models: Models with a request since the replicas started.
    """

    seconds: float
    running: int
    waiting: int
    shed_per_s: float
    models: tuple[ModelTraffic, ...] = field(default=())

    def to_json(self) -> dict[str, JsonValue]:
        """The same as JSON values."""
        return asdict(self)


def scrape(url: str) -> str:
    """The exposition text at a URL.

    Raises:
        UnavailableError: Nothing answers there.
    """
    try:
        answer = httpx.get(url, timeout=_TIMEOUT_S, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise UnavailableError(f"The metrics at {url} cannot be read: {error}; see `graftwork status`.") from error
    return answer.text


def parse(text: str, *, at: float) -> Scrape:
    """Our samples in Prometheus' text format.

    Args:
        text: The exposition text.
        at: When it was read, in seconds.
    """
    # One family may come in several pieces, one for each process; the parser takes them as they come.
    ours = "\n".join(line for line in text.splitlines() if _PREFIX in line) + "\n"
    samples = (
        Sample(sample.name.removeprefix(_PREFIX), sample.labels, sample.value)
        for family in text_string_to_metric_families(ours)
        for sample in family.samples
        if sample.name.startswith(_PREFIX)
    )
    return Scrape(at, tuple(samples))


def traffic(before: Scrape, after: Scrape) -> Traffic:
    """What happened between two scrapes; a counter that fell belongs to a new process and counts from nothing."""
    seconds = max(after.at - before.at, 1e-9)
    grown = _growth(before, after)
    names = sorted({sample.labels.get("model", "") for sample in after.samples if sample.name == "requests_total"})
    return Traffic(
        seconds=round(after.at - before.at, 3),
        running=round(sum(sample.value for sample in after.samples if sample.name == "running")),
        waiting=round(sum(sample.value for sample in after.samples if sample.name == "waiting")),
        shed_per_s=_total(grown, "shed_total") / seconds,
        models=tuple(_model([s for s in grown if s.labels.get("model") == name], name, seconds) for name in names),
    )


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """A quantile out of cumulative counts by upper bound, linear within a bucket as Prometheus' histogram_quantile.

    Returns None where nothing was counted, and the largest finite bound where the quantile lies above it.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0
    if total <= 0:
        return None
    rank, lower, below = share * total, 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * ((rank - below) / (count - below) if count > below else 1.0)
        lower, below = bound, count
    return lower


def _growth(before: Scrape, after: Scrape) -> list[Sample]:
    old = {_key(sample): sample.value for sample in before.samples}
    grown: list[Sample] = []
    for sample in after.samples:
        since = old.get(_key(sample), 0.0)
        value = sample.value - since if sample.value >= since else sample.value
        grown.append(Sample(sample.name, sample.labels, value))
    return grown


def _key(sample: Sample) -> tuple[str, frozenset[tuple[str, str]]]:
    return sample.name, frozenset(sample.labels.items())


def _model(samples: list[Sample], name: str, seconds: float) -> ModelTraffic:
    buckets: dict[float, float] = {}
    for sample in samples:
        if sample.name == "time_to_first_token_seconds_bucket":
            bound = float(sample.labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + sample.value
    prompts = _total(samples, "prompt_tokens_total")
    return ModelTraffic(
        model=name,
        requests_per_s=_total(samples, "requests_total") / seconds,
        errors_per_s=_total(samples, "errors_total") / seconds,
        first_token_p50_s=quantile(buckets, 0.5),
        first_token_p95_s=quantile(buckets, 0.95),
        tokens_per_s=_total(samples, "completion_tokens_total") / seconds,
        cached_share=_total(samples, "cached_tokens_total") / prompts if prompts else None,
    )


def _total(samples: Iterable[Sample], name: str) -> float:
    return sum(sample.value for sample in samples if sample.name == name)
