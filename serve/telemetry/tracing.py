"""OpenTelemetry spans: one per request, and one per stage, made at the request's end from its timings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from serve.layers.http import header
from serve.telemetry.record import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

_CONTEXT_HEADERS = (b"traceparent", b"tracestate")
_NS = 1_000_000_000


class _Headers(Getter[Scope]):
    """Reads the headers of an ASGI scope."""

    def get(self, carrier: Scope, key: str) -> list[str] | None:
        found = header(carrier, key.lower().encode("latin-1"))
        return None if found is None else [found]

    def keys(self, carrier: Scope) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier["headers"]]


class Tracing:
    """Starts and ends the spans of requests, with W3C trace context in and out."""

    def __init__(self, processor: SpanProcessor) -> None:
        """Take what becomes of spans that have ended."""
        self._provider = TracerProvider(resource=Resource.create({"service.name": "graftwork"}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("graftwork")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, scope: Scope, *, route: str, start_ns: int) -> Span:
        """Start a request's span, below the one that its `traceparent` names.

        Args:
            scope: The request.
            route: Name of its route.
            start_ns: Nanoseconds since the epoch.
        """
        parent = self._propagator.extract(scope, getter=_Headers())
        return self._tracer.start_span(
            f"{scope['method']} {route}", context=parent, kind=SpanKind.SERVER, start_time=start_ns
        )

    def passed_on(self, scope: Scope, span: Span) -> Scope:
        """The scope with the span as the parent of what the inner app traces."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, context=set_span_in_context(span))
        kept = [(name, value) for name, value in scope["headers"] if name.lower() not in _CONTEXT_HEADERS]
        added = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in carrier.items()]
        return {**scope, "headers": [*kept, *added]}

    def end(self, span: Span, record: RequestRecord, *, start_ns: int) -> None:
        """End a request's span with those of its stages.

        Args:
            span: What `begin` gave.
            record: What is known of the request.
            start_ns: When the request started, in nanoseconds since the epoch.
        """
        for name, value in (
            ("http.response.status_code", record.status),
            ("graftwork.request_id", record.request_id),
            ("graftwork.model", record.model),
            ("graftwork.adapter", record.adapter),
            ("graftwork.tenant", record.tenant),
            ("graftwork.prompt_tokens", record.prompt_tokens),
            ("graftwork.cached_tokens", record.cached_tokens),
            ("graftwork.completion_tokens", record.completion_tokens),
            ("graftwork.cancelled", record.cancelled),
            ("error.type", record.code or None),
        ):
            if value is not None:
                span.set_attribute(name, value)
        if record.server_failed:
            span.set_status(Status(StatusCode.ERROR))
        within = set_span_in_context(span)
        for stage in record.stages:
            begun = start_ns + int(stage.start_s * _NS)
            child = self._tracer.start_span(stage.name, context=within, start_time=begun)
            child.end(end_time=begun + int(stage.seconds * _NS))
        span.end(end_time=start_ns + int(record.seconds * _NS))

    def close(self) -> None:
        """Send what was not sent yet; blocks, for up to the exporter's timeout."""
        self._provider.shutdown()


def otlp_tracing(endpoint: str) -> Tracing:
    """Tracing that sends its spans in batches, from a thread of its own, to `endpoint`/v1/traces."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return Tracing(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
