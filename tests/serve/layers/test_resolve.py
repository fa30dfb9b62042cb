"""The header that names a model, and names whose adapter's manifest has not been read when a request asks for them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from indexer.errors import UnavailableError
from serve.catalog import Catalog
from serve.layers.call import get_call
from serve.layers.http import send_json
from serve.layers.resolve import ResolveLayer
from serve.principal import Principal, put_principal
from serve.specialist import Specialist
from tests.serve.layers.conftest import Graph, manifest
from train.registry.index import AdapterEntry
from train.registry.manifest import AdapterManifest


@pytest.mark.parametrize("value", ["ropes@1", "ropes@1; session=s", "; session=s"])
async def test_a_header_that_names_the_bodys_model_is_taken(graph: Graph, value: str) -> None:
    body = {"model": "ropes@1", "messages": [{"role": "user", "content": "How long?"}]}
    answer = await graph.client.post("/v1/chat/completions", json=body, headers={"x-graftwork-model": value})
    assert answer.status_code == 200


async def test_a_header_that_names_another_model_is_refused(graph: Graph) -> None:
    body = {"model": "ropes@1", "messages": [{"role": "user", "content": "How long?"}]}
    answer = await graph.client.post("/v1/chat/completions", json=body, headers={"x-graftwork-model": "ropes@2"})
    assert answer.status_code == 400
    assert "names 'ropes@2' and the body 'ropes@1'" in answer.json()["error"]["message"]
    assert graph.engine.requests == []


class Asked:
    """The layer around an app that tells which adapter it would generate with."""

    def __init__(self) -> None:
        self.adapters: dict[str, AdapterManifest] = {}
        self.problems: dict[str, str] = {}
        self.read: list[str] = []
        self.bad: set[str] = set()
        self.error: UnavailableError | None = None
        self.catalog = Catalog(
            revision=1,
            base_name="base",
            specialists={"s": Specialist(name="s", adapter="ropes@stable")},
            adapters=self.adapters,
            problems=self.problems,
            entries={"ropes": AdapterEntry(versions=(1, 2, 3), stable=2, retired=(3,))},
        )
        self.reader: Callable[[str], Awaitable[None]] = self.know
        layer = ResolveLayer(
            self.app,
            catalog=lambda: self.catalog,
            know=self._know,
            embedder_name="embedder",
            max_body_bytes=1000,
            timeout_s=5.0,
        )

        async def sent(scope: Scope, receive: Receive, send: Send) -> None:
            put_principal(scope, Principal(tenant="t"))
            await layer(scope, receive, send)

        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(sent), base_url="http://graftwork")

    async def _know(self, ref: str) -> None:
        await self.reader(ref)

    async def know(self, ref: str) -> None:
        self.read.append(ref)
        if self.error is not None:
            raise self.error
        if ref in self.bad:
            self.problems[ref] = "broken"
        else:
            self.adapters[ref] = manifest("ropes", int(ref[-1]), int(ref[-1]))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = get_call(scope)
        assert call is not None
        adapter = call.target.adapter
        await send_json(send, status=200, content={"adapter": None if adapter is None else adapter.ref})

    async def ask(self, model: str) -> tuple[int, str]:
        answer = await self.client.post("/v1/completions", json={"model": model, "prompt": "x"})
        content = answer.json()
        return answer.status_code, content.get("adapter") or json.dumps(content)


async def test_a_manifest_is_read_at_the_first_request_and_not_again() -> None:
    asked = Asked()
    assert await asked.ask("ropes@1") == (200, "ropes@1")
    assert await asked.ask("ropes@1") == (200, "ropes@1")
    assert await asked.ask("s") == (200, "ropes@2")
    assert await asked.ask("ropes") == (200, "ropes@2")
    assert asked.read == ["ropes@1", "ropes@2"]


async def test_what_the_index_does_not_have_is_not_asked_for() -> None:
    asked = Asked()
    for model in ("ropes@4", "nets", "nets@1", "ropes@", "../x@1"):
        status, said = await asked.ask(model)
        assert (status, "does not exist" in said) == (404, True)
    status, said = await asked.ask("ropes@3")
    assert (status, "is retired and served no more" in said) == (404, True)
    assert asked.read == []


async def test_a_broken_manifest_is_a_plain_404_and_asked_for_once() -> None:
    asked = Asked()
    asked.bad.add("ropes@1")
    for _ in range(2):
        assert (await asked.ask("ropes@1"))[0] == 404
    assert asked.read == ["ropes@1"]


async def test_a_registry_that_is_away_is_a_503_without_its_address_and_asked_again() -> None:
    asked = Asked()
    asked.error = UnavailableError("The registry s3://bucket at 10.0.0.1 is away.")
    status, said = await asked.ask("ropes@1")
    assert (status, "10.0.0.1" in said, "try again" in said) == (503, False, True)
    asked.error = None
    assert await asked.ask("ropes@1") == (200, "ropes@1")


async def test_a_catalogue_that_is_replaced_meanwhile_is_asked_anew() -> None:
    asked = Asked()
    first = asked.catalog

    async def late(ref: str) -> None:
        await asked.know(ref)
        if asked.catalog is first:  # its manifest is known to the first catalogue alone
            asked.adapters = {}
            asked.catalog = Catalog(
                revision=2, base_name="base", specialists={}, adapters=asked.adapters, entries=first.entries
            )

    asked.reader = late
    assert await asked.ask("ropes@1") == (200, "ropes@1")
    assert asked.read == ["ropes@1", "ropes@1"]
