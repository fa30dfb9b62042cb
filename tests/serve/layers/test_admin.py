from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import UnavailableError
from serve.principal import Principal
from serve.routes import ADMIN_VERBS
from tests.serve.layers.conftest import BASE, Graph, make_graph
from tests.train.conftest import write_adapter, write_checkpoint
from train.base_model import describe_base
from train.registry import AdapterRegistry, Provenance, publish_adapter

ADAPTERS, EVENTS = "/v1/admin/adapters", "/v1/admin/events"


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    """Three versions of one adapter, for a base that the graph does not have."""
    write_checkpoint(tmp_path / "base")
    base = describe_base(tmp_path / "base", name="small")
    registry, adapter = AdapterRegistry(tmp_path / "registry"), write_adapter(tmp_path / "adapter")
    for _ in range(3):
        publish_adapter(adapter, registry=registry, name="ropes", base=base, provenance=Provenance(), make_stable=False)
    return registry


@pytest.fixture
def open_graph(registry: AdapterRegistry) -> Graph:
    return make_graph(keys=False, registry=registry.root)


@pytest.fixture
def keyed(registry: AdapterRegistry) -> Graph:
    graph = make_graph(keys=True, registry=registry.root)
    graph.principals["ada"] = Principal(tenant="a", key_id="ada", admin=True)
    graph.principals["bob"] = Principal(tenant="b", key_id="bob")
    return graph


async def post(graph: Graph, verb: str, *, key: str | None = None, **body: object) -> tuple[int, dict[str, object]]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = await graph.client.post(f"{ADAPTERS}/{verb}", json=body, headers=headers)
    return answer.status_code, answer.json()


async def test_every_verb_does_what_the_command_line_does(open_graph: Graph, registry: AdapterRegistry) -> None:
    for verb, body, field, wanted in (
        ("canary", {"adapter": "ropes@2", "percent": 10}, "canary", {"version": 2, "percent": 10}),
        ("promote", {"adapter": "ropes@2"}, "stable", 2),
        ("pin", {"adapter": "ropes@3"}, "pinned", [3]),
        ("unpin", {"adapter": "ropes@3"}, "pinned", []),
        ("rollback", {"adapter": "ropes"}, "stable", 1),
        ("retire", {"adapter": "ropes@3"}, "retired", [3]),
    ):
        status, answer = await post(open_graph, verb, **body)
        assert (status, answer[field]) == (200, wanted)
        assert answer["revision"] == registry.revision()
        assert answer["event"]["who"] == "api"  # type: ignore[index]
    listed = (await open_graph.client.get(ADAPTERS)).json()
    assert listed["adapters"][0] | {"former": []} == {
        "name": "ropes",
        "versions": [1, 2, 3],
        "stable": 1,
        "former": [],
        "canary": None,
        "retired": [3],
        "pinned": [],
    }
    told = (await open_graph.client.get(EVENTS, params={"adapter": "ropes"})).json()["events"]
    assert [event["verb"] for event in told][3:] == ["canary", "promote", "pin", "unpin", "rollback", "retire"]


async def test_only_a_key_that_may_administer_is_let_in(keyed: Graph, registry: AdapterRegistry) -> None:
    before = registry.revision()
    for path in (ADAPTERS, EVENTS):
        answer = await keyed.client.get(path, headers={"authorization": "Bearer bob"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    for verb in ADMIN_VERBS:
        assert (await post(keyed, verb, adapter="ropes@2"))[0] == 401
        status, answer = await post(keyed, verb, key="bob", adapter="ropes@2")
        assert status == 403
        assert answer["error"]["type"] == "permission_error"  # type: ignore[index]
    assert registry.revision() == before
    status, answer = await post(keyed, "promote", key="ada", adapter="ropes@2")
    assert (status, answer["event"]["who"]) == (200, "key ada")  # type: ignore[index]


@pytest.mark.parametrize(
    ("verb", "body", "status", "code", "says"),
    [
        ("promote", {"adapter": "ropes@9"}, 404, "adapter_not_found", "no version 9"),
        ("promote", {"adapter": "nets@1"}, 404, "adapter_not_found", "no adapter 'nets' in the registry"),
        ("promote", {"adapter": "../x@1"}, 400, "invalid_request", "cannot name an adapter"),
        ("promote", {"adapter": "ropes"}, 400, "invalid_request", "names no one version"),
        ("promote", {"adapter": 3}, 400, "invalid_request", "'adapter' is wrong"),
        ("promote", {}, 400, "invalid_request", "'adapter' is wrong: Field required"),
        ("promote", {"adapter": "ropes@2", "force": True}, 400, "invalid_request", "'force' is wrong"),
        ("canary", {"adapter": "ropes@2"}, 400, "invalid_request", "'percent' is wrong"),
        ("canary", {"adapter": "ropes@2", "percent": 10.5}, 400, "invalid_request", "'percent' is wrong"),
        ("canary", {"adapter": "ropes@2", "percent": 101}, 400, "invalid_request", "101 is no share"),
        ("retire", {"adapter": "ropes@1"}, 409, "conflict", "ropes@1 is the stable version"),
        ("rollback", {"adapter": "ropes"}, 404, "adapter_not_found", "no former stable version"),
        ("verify", {"adapter": "ropes@1"}, 400, "invalid_request", "was made for small"),
    ],
)
async def test_what_is_wrong_is_said_in_the_house_shape_without_a_path(
    open_graph: Graph, registry: AdapterRegistry, verb: str, body: dict[str, object], status: int, code: str, says: str
) -> None:
    before = registry.revision()
    answer = await open_graph.client.post(f"{ADAPTERS}/{verb}", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["request_id"]) == (status, code, "r1")
    assert says in error["message"]
    assert str(registry.root) not in answer.text
    assert registry.revision() == before


async def test_verify_says_yes(registry: AdapterRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    base = describe_base(tmp_path / "base", name="small")
    monkeypatch.setattr("tests.serve.layers.conftest.BASE", base)
    assert base != BASE
    graph = make_graph(keys=False, registry=registry.root)
    assert await post(graph, "verify", adapter="ropes@1") == (200, {"adapter": "ropes@1", "verified": True})


@pytest.mark.parametrize(("content", "status"), [(b"{", 400), (b"[]", 400), (b"x" * 20_000, 413), (b"", 400)])
async def test_a_body_that_is_none_is_refused(open_graph: Graph, content: bytes, status: int) -> None:
    answer = await open_graph.client.post(f"{ADAPTERS}/promote", content=content)
    assert answer.status_code == status


async def test_a_registry_that_is_away_is_a_503_without_its_address(
    open_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise UnavailableError("The registry s3://bucket cannot be used; see 10.0.0.1.")

    monkeypatch.setattr(AdapterRegistry, "index", away)
    status, answer = await post(open_graph, "promote", adapter="ropes@2")
    assert (status, "10.0.0.1" in json.dumps(answer)) == (503, False)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        (ADAPTERS, "POST", 405),
        (f"{ADAPTERS}/promote", "GET", 405),
        (f"{ADAPTERS}/delete", "POST", 404),
        (f"{ADAPTERS}/", "GET", 404),
        ("/v1/admin", "GET", 404),
    ],
)
async def test_nothing_else_is_there(open_graph: Graph, path: str, method: str, status: int) -> None:
    call: Callable[..., object] = open_graph.client.request
    assert (await call(method, path)).status_code == status  # type: ignore[misc]
