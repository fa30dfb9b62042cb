"""Puts the parts together for one replica."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from serve.residency.standing import Standing
from serve.telemetry.lag import follow_lag
from serve.telemetry.logs import AccessLog, use_serve_handlers
from serve.telemetry.metrics import Metrics, ray_recorder
from serve.telemetry.record import RequestRecord
from serve.telemetry.settings import TelemetrySettings
from serve.telemetry.tracing import Tracing, otlp_tracing


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a replica tells the world through."""

    metrics: Metrics
    access_log: AccessLog
    tracing: Tracing | None

    def sink(self, record: RequestRecord) -> None:
        """Take the record of a request that has ended."""
        self.metrics.count_request(record)
        self.access_log(record)

    async def follow(
        self, *, running: Callable[[], int], waiting: Callable[[], int], adapters: Callable[[], Standing]
    ) -> None:
        """Measure the event loop's lag, the load and how things stand with adapters until cancelled.

        Args:
            running: Gives the number of generations inside.
            waiting: Gives the number of those that wait for admission.
            adapters: Gives how things stand with adapters.
        """

        def look(lag_s: float) -> None:
            self.metrics.observe_lag(lag_s)
            self.metrics.set_load(running=running(), waiting=waiting())
            self.metrics.set_adapters(adapters())

        await follow_lag(look)


async def start_telemetry(settings: TelemetrySettings) -> Telemetry:
    """The telemetry of this process; to be called once, in a replica."""
    use_serve_handlers()
    endpoint = settings.otlp_endpoint
    return Telemetry(
        metrics=Metrics(ray_recorder(), max_label_values=settings.max_label_values),
        access_log=AccessLog(settings.log_format),
        tracing=await asyncio.to_thread(otlp_tracing, endpoint) if endpoint else None,
    )
