from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serve.telemetry.record import RequestRecord, Stage
from serve.telemetry.tracing import Tracing, otlp_tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SCOPE = {"type": "http", "method": "POST", "headers": [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())]}
START_NS = 1_700_000_000_000_000_000
RECORD = RequestRecord(
    "r", "chat", "base", None, "t", None, 503, "unavailable", 2.0, stages=(Stage("prefill", 0.5, 0.25),)
)


def test_stages_are_children_at_their_times_and_the_trace_goes_on() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter))
    span = tracing.begin(SCOPE, route="chat", start_ns=START_NS)
    inner = dict(tracing.passed_on(SCOPE, span)["headers"])
    tracing.end(span, RECORD, start_ns=START_NS)
    stage, root = exporter.get_finished_spans()
    assert root.context is not None
    assert root.parent is not None
    assert stage.parent is not None
    assert (f"{root.context.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE, PARENT)
    assert inner[b"traceparent"] == f"00-{TRACE}-{root.context.span_id:016x}-01".encode()
    assert (stage.name, stage.parent.span_id) == ("prefill", root.context.span_id)
    assert (stage.start_time, stage.end_time) == (START_NS + 500_000_000, START_NS + 750_000_000)
    assert root.end_time == START_NS + 2_000_000_000
    assert not root.status.is_ok


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            import gzip

            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            got.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_reach_an_otlp_receiver(receiver: tuple[str, list[bytes]]) -> None:
    url, got = receiver
    tracing = otlp_tracing(url)
    tracing.end(tracing.begin(SCOPE, route="chat", start_ns=START_NS), RECORD, start_ns=START_NS)
    tracing.close()
    request = ExportTraceServiceRequest.FromString(got[0])
    spans = request.resource_spans[0].scope_spans[0].spans
    assert [span.name for span in spans] == ["prefill", "POST chat"]
