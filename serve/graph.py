"""The layers around vLLM's app, put together in the order of `serve.layers`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from starlette.types import ASGIApp

from serve.admin import Admin
from serve.admission.gate import Gate
from serve.catalog import Catalog
from serve.draining import Draining
from serve.layers.adapter import AdapterLayer
from serve.layers.admin import AdminLayer
from serve.layers.admission import AdmissionLayer
from serve.layers.authenticate import AuthenticateLayer
from serve.layers.call import Call, Usage
from serve.layers.citation import CitationLayer
from serve.layers.context import ContextLayer
from serve.layers.draining import DrainingLayer
from serve.layers.embeddings import EmbeddingsLayer
from serve.layers.engine import EngineLayer
from serve.layers.errors import ErrorLayer
from serve.layers.health import HealthLayer
from serve.layers.lifetime import LifetimeLayer
from serve.layers.load import LoadLayer
from serve.layers.models import ModelsLayer
from serve.layers.quota import QuotaLayer
from serve.layers.refusal import RefusalLayer
from serve.layers.resolve import ResolveLayer
from serve.layers.retrieve import RetrieveLayer
from serve.layers.routes import RouteLayer
from serve.layers.search import SearchLayer
from serve.layers.telemetry import TelemetryLayer
from serve.principal import Principal
from serve.quota.quota import Quota
from serve.residency.manager import Residency
from serve.retriever import Embedding, Retrieval
from serve.settings import AppArgs
from serve.telemetry.wiring import Telemetry
from train.registry.manifest import AdapterManifest


@dataclass(frozen=True, slots=True)
class EngineState:
    """What the layers ask of a running engine.

    Attributes:
        lives: Whether it can work.
        requests: Requests that it has.
        tokens_so_far: Tokens of prompt and answer that a request has cost, by its id in the engine.
    """

    lives: Callable[[], bool]
    requests: Callable[[], int]
    tokens_so_far: Callable[[str], tuple[int, int]]

    def spent(self, call: Call) -> Usage | None:
        """What a call that is about to be cancelled has cost."""
        told = call.usage
        if call.engine_id is None or told is None:
            return told
        prompt, completion = self.tokens_so_far(call.engine_id)
        return Usage(max(prompt, told.prompt), max(completion, told.completion), told.cached)


class View(Protocol):
    """What the layers ask of the registry."""

    @property
    def catalog(self) -> Catalog:
        """The names of this moment."""

    async def know(self, ref: str) -> None:
        """Read the manifest of an adapter version that the catalogue has not read; raises UnavailableError."""


class Retriever(Retrieval, Embedding, Protocol):
    """What the layers ask of the retriever deployment."""


def assemble_layers(
    app: ASGIApp,
    *,
    view: View,
    admin: Admin,
    files: Callable[[AdapterManifest], AbstractAsyncContextManager[Path]],
    residency: Residency,
    retriever: Retriever,
    count_tokens: Callable[[str], int],
    max_model_len: int,
    engine: EngineState,
    check_key: Callable[[str], Principal | None] | None,
    quota: Quota,
    gate: Gate,
    telemetry: Telemetry | None,
    args: AppArgs,
    draining: Draining | None = None,
    unready: Callable[[], str | None] = lambda: None,
) -> ASGIApp:
    """Put the layers around vLLM's app; the request meets the last one named here first.

    Args:
        app: vLLM's own app.
        view: What the registry has now.
        admin: Changes it.
        files: Checked folder of an adapter version, kept for the block; raises GraftworkError where a file is not as
            published.
        residency: Keeps adapters in the engine.
        retriever: Searches and embeds.
        count_tokens: Counts a text's tokens with the base model's tokenizer.
        max_model_len: The engine's context length in tokens.
        engine: The running engine.
        check_key: Says whose a key is; None where the app asks for none.
        quota: Limits of keys.
        gate: Who may pass to the engine.
        telemetry: What is told of requests; None tells nothing.
        args: The application's arguments.
        draining: Whether the replica is being stopped; None where nobody says so.
        unready: Why the replica is not ready though its engine lives; None where it is.
    """
    serve = args.serve
    app = CitationLayer(RefusalLayer(EngineLayer(app)))
    app = ContextLayer(app, count_tokens=count_tokens, max_model_len=max_model_len)
    app = AdapterLayer(
        app,
        residency=residency,
        files=files,
        engine_base=serve.base_name,
        wait_s=serve.adapter_wait_s,
    )
    app = RetrieveLayer(app)
    app = SearchLayer(app, retrieval=retriever, timeout_s=serve.retrieval_timeout_s)
    app = EmbeddingsLayer(app, embedding=retriever)
    app = AdmissionLayer(app, gate=gate, engine_lives=engine.lives)
    app = LifetimeLayer(
        app, deadline_s=serve.request_timeout_s, spent=engine.spent, over=draining.over if draining else None
    )
    app = QuotaLayer(app, quota=quota, max_model_len=max_model_len)
    app = ResolveLayer(
        app,
        catalog=lambda: view.catalog,
        know=view.know,
        embedder_name=serve.embedder_name,
        max_body_bytes=serve.max_body_bytes,
        timeout_s=serve.body_timeout_s,
    )
    app = ModelsLayer(app, catalog=lambda: view.catalog, embedder_name=serve.embedder_name, started_at=int(time.time()))
    app = LoadLayer(app, gate=gate, in_engine=engine.requests)
    app = AdminLayer(app, admin=admin, timeout_s=serve.body_timeout_s)
    app = RouteLayer(app)
    app = AuthenticateLayer(app, check=check_key, tenant=args.indexer.default_tenant)
    app = DrainingLayer(app, refusing=lambda: draining is not None and draining.refusing)
    app = HealthLayer(
        app,
        engine_lives=engine.lives,
        unready=unready,
        stopping=lambda: draining is not None and draining.begun,
        revision=lambda: view.catalog.revision,
    )
    app = ErrorLayer(app)
    return TelemetryLayer(app, sink=telemetry.sink, tracing=telemetry.tracing) if telemetry is not None else app
