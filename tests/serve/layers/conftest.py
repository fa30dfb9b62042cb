"""The layers around a small app that answers as vLLM does and keeps what it was sent."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import GraftworkError, UnavailableError
from indexer.passages import Passage, SearchResult
from indexer.settings import IndexerSettings
from serve.admin import Admin
from serve.admission.gate import Gate
from serve.catalog import Catalog
from serve.draining import Draining
from serve.embeddings import Embedded, EmbeddingRequest
from serve.graph import EngineState, assemble_layers
from serve.layers.http import read_body, send_json
from serve.principal import Principal
from serve.quota.quota import Quota
from serve.residency.engine import EngineAdapter
from serve.residency.manager import Residency
from serve.retriever import Query
from serve.settings import AppArgs, ServeSettings
from serve.specialist import Specialist
from train.base_model import BaseModelFiles
from train.registry.index import AdapterEntry
from train.registry.manifest import AdapterManifest
from train.registry.registry import AdapterRegistry

GENERATING = ("/v1/chat/completions", "/v1/completions")


USAGE = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}


def event_of(chunk: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


@dataclass
class EngineApp:
    """Answers every generation with one text, whole or as a stream of its words.

    As vLLM's own it ends one when it hears of a disconnect, and not when it is cancelled.
    """

    text: str = "Twelve metres [1], not nine [7]."
    lives: bool = True
    lasts_s: float = 0.0
    requests: list[dict[str, object]] = field(default_factory=list)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    cancelled: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.loads(await read_body(receive))
        self.requests.append(body)
        self.headers.append(dict(scope["headers"]))
        if scope["path"] not in GENERATING:
            await send_json(send, status=200, content={"route": scope["path"], "usage": USAGE})
            return
        generation = asyncio.create_task(self._generate(body, send))
        gone = asyncio.create_task(self._until_gone(receive))
        await asyncio.wait({generation, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not generation.done():
            generation.cancel()
            self.cancelled += 1
            await send_json(send, status=200, content={})
        else:
            generation.result()

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _generate(self, body: dict[str, object], send: Send) -> None:
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop"}
            await asyncio.sleep(self.lasts_s)
            content = {**head, "object": "chat.completion", "choices": [message], "usage": USAGE}
            await send_json(send, status=200, content=content)
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for word in self.text.split(" "):
            choice = {"index": 0, "delta": {"content": word + " "}}
            chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
            await send({"type": "http.response.body", "body": event_of(chunk), "more_body": True})
            await asyncio.sleep(self.lasts_s)
        if (body.get("stream_options") or {}).get("include_usage"):
            last = event_of({**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
            await send({"type": "http.response.body", "body": last, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@dataclass
class Adapters:
    """Takes every adapter but those it was told to refuse."""

    refuse: set[int] = field(default_factory=set)
    loaded: list[int] = field(default_factory=list)

    async def load_adapter(self, adapter: EngineAdapter) -> None:
        if adapter.engine_id in self.refuse:
            raise UnavailableError(f"The engine refused adapter {adapter.engine_name}: no file {adapter.path}/x.")
        self.loaded.append(adapter.engine_id)

    async def unload_adapter(self, adapter: EngineAdapter) -> None:
        self.loaded.remove(adapter.engine_id)

    async def list_adapters(self) -> set[int]:
        return set(self.loaded)


@dataclass
class Passages:
    """Answers every question with two passages, or with an error."""

    error: GraftworkError | None = None
    empty: bool = False
    lasts_s: float = 0.0
    queries: list[Query] = field(default_factory=list)
    asked: list[EmbeddingRequest] = field(default_factory=list)

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return Embedded(vectors=np.eye(len(request.texts), 4, dtype=np.float32), tokens=5)

    async def retrieve(self, query: Query) -> SearchResult:
        self.queries.append(query)
        await asyncio.sleep(self.lasts_s)
        if self.error is not None:
            raise self.error
        found = () if self.empty else (passage(1), passage(2))
        return SearchResult(
            passages=found,
            collection=query.collection,
            generation=3,
            embed_ms=1.0,
            search_ms=2.0,
            rerank_ms=4.0 if query.rerank else 0.0,
        )


def passage(number: int) -> Passage:
    return Passage(
        chunk_id=f"c{number}",
        document_id=f"d{number}",
        title=f"Title {number}",
        heading_path=("Ropes",),
        uri=f"file:///d{number}.md",
        page=None,
        ordinal=0,
        text=f"Text {number}.",
        score=1.0 / number,
        end=7,
    )


def manifest(name: str, version: int, engine_id: int) -> AdapterManifest:
    return AdapterManifest(
        name=name,
        version=version,
        engine_id=engine_id,
        base_model="base",
        base_fingerprint="sha256:0",
        chat_template_hash=None,
        rank=8,
        alpha=16,
        target_modules=("q_proj",),
        files={},
        dataset=None,
        scores=None,
        training=None,
        created_at=datetime.now(UTC),
        created_by="test",
        code_version="0",
    )


BASE = BaseModelFiles(name="base", path=Path("/absent"), fingerprint="sha256:0", chat_template_hash=None)


@dataclass
class Files:
    """Knows where adapter versions lie; the check can be slow, or fail as a registry does."""

    check_s: float = 0.0
    error: GraftworkError | None = None
    used: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def use(self, version: AdapterManifest) -> AsyncIterator[Path]:
        await asyncio.sleep(self.check_s)
        if self.error is not None:
            raise self.error
        self.used[version.ref] += 1
        try:
            yield Path("/registry") / version.ref
        finally:
            self.used[version.ref] -= 1


@dataclass
class View:
    """The registry as replicas see it."""

    catalog: Catalog

    async def know(self, ref: str) -> None:
        raise AssertionError(f"the manifest of {ref} was read already")


@dataclass
class Graph:
    """A client of the layers, and what stands around them."""

    app: ASGIApp
    client: httpx.AsyncClient
    files: Files
    engine: EngineApp
    adapters: Adapters
    passages: Passages
    principals: dict[str, Principal]


SPECIALISTS = (
    {"name": "plain", "prompt": "You keep ropes.", "generation_defaults": {"temperature": 0, "max_tokens": 5}},
    {"name": "rag", "collection": "handbook", "retrieval": {"k": 2}},
    {"name": "again", "collection": "handbook", "retrieval": {"rerank": {"by": "model", "depth": 9, "weight": 0.5}}},
    {"name": "lenient", "collection": "handbook", "retrieval": {"on_failure": "answer"}},
    {
        "name": "narrow",
        "collection": "handbook",
        "retrieval": {"filter": {"field": "metadata.kind", "op": "==", "value": "open"}},
    },
    {
        "name": "strict",
        "collection": "handbook",
        "retrieval": {"refusal": "The handbook is silent.", "timeout_s": 0.2},
    },
    {"name": "talker", "collection": "handbook", "retrieval": {"turns": 3, "skip_small_talk": True}},
    {"name": "both", "collection": "handbook", "adapter": "ropes@stable"},
    {"name": "soft", "adapter": "ropes@2", "fallback": "base"},
    {"name": "orphan", "adapter": "gone@1"},
    {"name": "forgiving", "adapter": "gone@1", "fallback": "base"},
)


@pytest.fixture
def graph() -> Graph:
    """The layers where no keys are asked for."""
    return make_graph(keys=False)


@pytest.fixture
def keyed() -> Graph:
    """The layers where the keys in `principals` are asked for."""
    return make_graph(keys=True)


def count_words(text: str) -> int:
    return len(text.split())


def make_graph(
    *,
    keys: bool,
    count_tokens: Callable[[str], int] = count_words,
    registry: Path = Path("/absent/registry"),
    draining: Draining | None = None,
) -> Graph:
    engine, adapters, passages, files = EngineApp(), Adapters(), Passages(), Files()
    principals: dict[str, Principal] = {}
    specialists = [Specialist.model_validate(document) for document in SPECIALISTS]
    first, second = manifest("ropes", 1, 1), manifest("ropes", 2, 2)
    catalog = Catalog(
        revision=1,
        base_name="base",
        specialists={specialist.name: specialist for specialist in specialists},
        adapters={"ropes@1": first, "ropes@2": second},
        entries={"ropes": AdapterEntry(versions=(1, 2), stable=1)},
    )

    args = AppArgs(
        base_model="tiny",
        models_dir=Path("/models"),
        registry=Path("/registry"),
        indexer=IndexerSettings(),
        serve=ServeSettings(
            adapter_wait_s=1.0,
            retrieval_timeout_s=1.0,
            request_timeout_s=2.0,
            max_body_bytes=200_000,
        ),
    )
    app = assemble_layers(
        engine,
        view=View(catalog),
        files=files.use,
        admin=Admin(AdapterRegistry(registry), base=BASE, max_lora_rank=16),
        residency=Residency(adapters, capacity=2, wait_s=1.0),
        retriever=passages,
        count_tokens=count_tokens,
        max_model_len=1000,
        engine=EngineState(lives=lambda: engine.lives, requests=lambda: 0, tokens_so_far=lambda _: (7, 3)),
        check_key=principals.get if keys else None,
        gate=Gate(running=2, waiting=2),
        telemetry=None,
        quota=Quota(shared=None, when_away="local", retry_s=1.0),
        args=args,
        draining=draining,
    )
    headers = {"x-request-id": "r1"}
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://graftwork", headers=headers)
    return Graph(app, client, files, engine, adapters, passages, principals)
