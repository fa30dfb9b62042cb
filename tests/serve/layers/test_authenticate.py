from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from serve.keys.file import KeyFile
from serve.keys.followed import FollowedKeys
from serve.keys.secret import new_token
from serve.layers.authenticate import AuthenticateLayer
from serve.layers.http import send_json
from serve.principal import Principal, find_principal
from serve.routes import ROUTES

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
CLOSED = (
    *(route.path for route in ROUTES if not route.public),
    "/v1/models/agronomy",
    "/metrics",
    "/health",
    "/version",
    "/docs",
    "/openapi.json",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/messages/count_tokens",
    "/v1/responses/resp_1/cancel",
    "/inference/v1/generate",
    "/-/healthz",
    "/absent",
    "/",
    "",
    "/healthz/",
    "//healthz",
    "/healthz/../v1/models",
    "/HEALTHZ",
    "/readyz/x",
)


@dataclass
class Behind:
    """Keeps the scopes that reach it."""

    scopes: list[Scope] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send_json(send, status=200, content={"path": scope["path"]})


@dataclass
class Gate:
    """The layer in front of an app, with one key of tenant farm."""

    behind: Behind
    layer: AuthenticateLayer
    token: str
    principal: Principal

    async def request(
        self, path: str, *headers: tuple[str, str], method: str = "GET", kind: str = "http"
    ) -> tuple[list[Message], Scope]:
        """What the layer sends, and the scope as a layer before it has it."""
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        scope: Scope = {"type": kind, "path": path, "method": method, "headers": encoded}
        sent: list[Message] = []

        async def receive() -> Message:
            pytest.fail("the body was read before the key was checked")

        async def send(message: Message) -> None:
            sent.append(message)

        await self.layer(scope, receive, send)
        return sent, scope

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.layer), base_url="http://graftwork")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    file = KeyFile(tmp_path / "keys.json")
    token, entry = file.create(tenant="farm", now=datetime.now(UTC))
    keys = FollowedKeys(file.path, interval_s=1.0)
    behind = Behind()
    layer = AuthenticateLayer(behind, check=keys.check, tenant="default")
    return Gate(behind, layer, token.text, Principal(tenant="farm", key_id=entry.id))


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


@pytest.mark.parametrize("path", CLOSED)
async def test_without_a_valid_key_every_path_is_401_whatever_the_method(gate: Gate, path: str) -> None:
    for method in METHODS:
        for headers, code in (((), "missing_api_key"), ((bearer(new_token().text),), "invalid_api_key")):
            sent, scope = await gate.request(path, *headers, method=method)
            start, body = sent
            assert start["status"] == 401
            assert (b"www-authenticate", b"Bearer") in start["headers"]
            assert f'"code":"{code}"'.encode() in body["body"]
            assert find_principal(scope) is None
    assert gate.behind.scopes == []


@pytest.mark.parametrize("path", CLOSED)
async def test_with_a_key_every_path_goes_on(gate: Gate, path: str) -> None:
    for method in METHODS:
        await gate.request(path, bearer(gate.token), method=method)
    assert [scope["method"] for scope in gate.behind.scopes] == list(METHODS)
    assert {find_principal(scope) for scope in gate.behind.scopes} == {gate.principal}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_answered_without_a_key(gate: Gate, path: str) -> None:
    for headers in ((), (bearer("wrong"),), (bearer(gate.token),)):
        sent, _ = await gate.request(path, *headers)
        assert sent[0]["status"] == 200
    assert [scope["headers"] for scope in gate.behind.scopes] == [[], [], []]
    assert {find_principal(scope) for scope in gate.behind.scopes} == {None}


@pytest.mark.parametrize("path", [*CLOSED, "/healthz"])
async def test_a_websocket_without_a_key_is_closed(gate: Gate, path: str) -> None:
    for headers in ((), (bearer("wrong"),)):
        sent, _ = await gate.request(path, *headers, kind="websocket")
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    assert gate.behind.scopes == []
    await gate.request(path, bearer(gate.token), kind="websocket")
    assert [find_principal(scope) for scope in gate.behind.scopes] == [gate.principal]


async def test_events_of_the_servers_own_life_go_on(gate: Gate) -> None:
    scope: Scope = {"type": "lifespan"}
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    await gate.layer(scope, receive, send)
    assert gate.behind.scopes == [scope]
    assert sent == []


async def test_a_refusal_has_openais_shape_and_repeats_nothing(gate: Gate) -> None:
    wrong = new_token().text
    async with gate.client() as client:
        response = await client.post("/v1/chat/completions", headers=dict([bearer(wrong)]), json={"model": "base"})
        missing = await client.get("/v1/messages")
    assert response.status_code == missing.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("authentication_error", None, "invalid_api_key")
    assert wrong not in response.text
    assert "`x-api-key` or `Authorization: Bearer`" in missing.json()["error"]["message"]


@pytest.mark.parametrize("value", ["Bearer {}", "bearer {}", "BEARER   {}  "])
async def test_the_scheme_is_written_as_one_likes(gate: Gate, value: str) -> None:
    await gate.request("/v1/models", ("authorization", value.format(gate.token)))
    assert [find_principal(scope) for scope in gate.behind.scopes] == [gate.principal]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "missing_api_key"),
        ("Bearer", "missing_api_key"),
        ("Bearer  ", "missing_api_key"),
        ("{}", "missing_api_key"),
        ("Basic {}", "missing_api_key"),
        ("Bearer{}", "missing_api_key"),
        ("Bearer \xff\xfe", "invalid_api_key"),
        ("Bearer {} {}", "invalid_api_key"),
        ("Bearer {},", "invalid_api_key"),
        ("Bearer Bearer {}", "invalid_api_key"),
    ],
)
async def test_another_form_of_the_header_is_refused(gate: Gate, value: str, code: str) -> None:
    sent, _ = await gate.request("/v1/models", ("authorization", value.format(gate.token, gate.token)))
    assert sent[0]["status"] == 401
    assert code in sent[1]["body"].decode()
    assert gate.behind.scopes == []


async def test_anthropics_header_holds_on_anthropics_route_alone(gate: Gate) -> None:
    anthropic = ("X-Api-Key", gate.token)
    await gate.request("/v1/messages", anthropic, method="POST")
    await gate.request("/v1/messages", anthropic, ("authorization", "Basic x"), method="POST")
    assert [find_principal(scope) for scope in gate.behind.scopes] == [gate.principal] * 2
    for path, headers in (
        ("/v1/chat/completions", (anthropic,)),
        ("/v1/messages/", (anthropic,)),
        ("/v1/messages", (anthropic, bearer("wrong"))),
        ("/v1/messages", (("x-api-key", " "),)),
    ):
        sent, _ = await gate.request(path, *headers, method="POST")
        assert sent[0]["status"] == 401, path
    assert len(gate.behind.scopes) == 2


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/models", "/healthz"])
async def test_no_key_goes_on_to_what_is_behind(gate: Gate, path: str) -> None:
    sent = [
        bearer(gate.token),
        ("AUTHORIZATION", "Bearer other"),
        ("X-API-Key", gate.token),
        ("x-request-id", "1"),
    ]
    _, scope = await gate.request(path, *sent)
    (behind,) = gate.behind.scopes
    assert behind["headers"] == [(b"x-request-id", b"1")]
    assert gate.token not in repr(behind)
    assert gate.token not in repr(scope)


async def test_layers_before_it_find_the_principal_too(gate: Gate) -> None:
    _, scope = await gate.request("/v1/models", bearer(gate.token))
    assert find_principal(scope) == gate.principal


async def test_without_keys_everybody_is_the_default_tenant() -> None:
    behind = Behind()
    layer = AuthenticateLayer(behind, check=None, tenant="default")
    gate = Gate(behind, layer, "", Principal(tenant="default"))
    for path in ("/v1/models", "/absent", "/healthz"):
        for kind in ("http", "websocket"):
            await gate.request(path, bearer("any"), kind=kind)
    assert {find_principal(scope) for scope in behind.scopes} == {Principal(tenant="default")}
    assert [scope["headers"] for scope in behind.scopes] == [[]] * 6
