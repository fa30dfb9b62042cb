from __future__ import annotations

import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from serve.layers.errors import ErrorLayer, sentence

# As vLLM 0.29 answers {"top_p": 7} and no messages.
FINDINGS = (
    "2 validation errors:\n  {'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required', "
    "'input': {'model': 'base', 'secret': 'colza'}}\n  {'type': 'value_error', 'loc': ('body', 'tools', 0), "
    "'msg': \"Input isn't a tool\", 'input': 7}"
)


def vllm_error(status: int, message: str) -> Response:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return JSONResponse({"error": error}, status_code=status)


async def broken(_: Request) -> Response:
    raise RuntimeError("/root/secret.py, line 7")


async def breaks_later(_: Request) -> Response:
    async def body() -> object:
        yield b"data: {}\n\n"
        raise RuntimeError("later")

    return StreamingResponse(body(), media_type="text/event-stream")


ANSWERS = {
    "/findings": lambda: vllm_error(400, FINDINGS),
    "/file": lambda: vllm_error(400, "No chat template at /usr/share/templates/a.jinja, see /v1/models."),
    "/longer": lambda: vllm_error(400, "This model's maximum context length\nis 1024 tokens."),
    "/engine": lambda: vllm_error(500, "Traceback: /usr/lib/vllm/core.py"),
    "/detail": lambda: JSONResponse({"detail": "Not Found"}, status_code=404),
    "/list": lambda: JSONResponse({"detail": [{"loc": ["body"]}]}, status_code=422),
    "/text": lambda: PlainTextResponse("Internal Server Error at /root", status_code=500),
    "/busy": lambda: PlainTextResponse("", status_code=429, headers={"retry-after": "3"}),
    "/ours": lambda: JSONResponse(
        {"error": {"message": "No.", "type": "x", "param": "model", "code": "word"}}, status_code=404
    ),
    "/fine": lambda: JSONResponse({"error": "none of ours"}),
}


def route(path: str) -> Route:
    async def endpoint(_: Request) -> Response:
        return ANSWERS[path]()

    return Route(path, endpoint)


@pytest.fixture
def client() -> httpx.AsyncClient:
    routes = [*(route(path) for path in ANSWERS), Route("/broken", broken), Route("/later", breaks_later)]
    transport = httpx.ASGITransport(ErrorLayer(Starlette(routes=routes)), raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://g", headers={"x-request-id": "r7"})


@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        ("/findings", 400, "invalid_request", "messages: Field required; tools.0: Input isn't a tool."),
        ("/longer", 400, "invalid_request", "This model's maximum context length is 1024 tokens."),
        ("/file", 400, "invalid_request", "No chat template at <path>, see /v1/models."),
        ("/engine", 500, "internal_error", "The server failed"),
        ("/detail", 404, "not_found", "Not Found"),
        ("/list", 422, "invalid_request", "Unprocessable"),
        ("/text", 500, "internal_error", "The server failed"),
        ("/busy", 429, "overloaded", "Too Many Requests."),
        ("/ours", 404, "word", "No."),
        ("/nowhere", 404, "not_found", "Not Found."),
    ],
)
async def test_every_error_has_openais_shape_a_word_for_a_code_and_the_requests_id(
    client: httpx.AsyncClient, path: str, status: int, code: str, message: str
) -> None:
    response = await client.get(path)
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert (response.status_code, error["code"], error["request_id"]) == (status, code, "r7")
    assert message in error["message"]
    assert not any(inside in response.text for inside in ("colza", "/root", "/usr", "Traceback"))
    assert int(response.headers["content-length"]) == len(response.content)


async def test_other_headers_stay_and_what_is_no_error_passes(client: httpx.AsyncClient) -> None:
    assert (await client.get("/busy")).headers["retry-after"] == "3"
    assert (await client.get("/fine")).json() == {"error": "none of ours"}


async def test_an_exception_is_a_500_without_its_text(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(scope: object, receive: object, send: object) -> None:
        raise RuntimeError("/root/secret.py, line 7")

    layer = httpx.AsyncClient(transport=httpx.ASGITransport(ErrorLayer(fails)), base_url="http://g")  # type: ignore[arg-type]
    response = await layer.get("/", headers={"x-request-id": "r8"})
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in response.text
    assert "request r8 failed" in caplog.text


async def test_an_exception_in_the_middle_of_an_answer_breaks_it_off(client: httpx.AsyncClient) -> None:
    with pytest.raises(RuntimeError, match="later"):
        await client.get("/later")


@pytest.mark.parametrize(
    "path",
    [
        "/usr/lib/python3.11/json.py",
        "/home/ada/.cache/model-7/config.json",
        "/root",
        "/data/models/base@1",
        "~/models/base",
        "/x/y",
        "file:///srv/template.jinja",
        "vllm/entrypoints/openai/serving.py",
    ],
)
def test_a_message_names_no_file(path: str) -> None:
    for before, after in (("cannot read '", "'."), ("see ", ", line 3"), ("(", ")"), ("path=", ""), ("", ": no such")):
        assert sentence(before + path + after) == before + "<path>" + after


@pytest.mark.parametrize(
    "text",
    [
        "See https://docs.vllm.ai/en/latest/models.html or http://127.0.0.1:8000/usr/x.",
        "Call POST /v1/chat/completions, /v1/models/base, /tokenize or GET /readyz.",
        "either input/output or and/or, 1/2, image/png and s3://bucket/key/x.",
        "</think> is no <|im_end|>, nor is ^/[a-z]+/b$ or //.",
    ],
)
def test_urls_and_paths_of_the_api_stay(text: str) -> None:
    assert sentence(text) == text


def test_a_very_long_message_is_cut() -> None:
    assert len(sentence("x" * 5_000)) < 1_100
    assert json.dumps(sentence("a\nb")) == '"a b"'
