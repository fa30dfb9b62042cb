"""The outermost layer: every error leaves in OpenAI's shape, with a code that is a word and the request's id.

Our layers answer so themselves (`http.send_error`); vLLM has numbers for codes, FastAPI has `detail`, and an exception
has nothing. What is written to clients names no file and no place in the code.
"""

from __future__ import annotations

import json
import logging
import re
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.layers.call import JsonObject
from serve.layers.http import error_body, header
from serve.routes import ROUTES

logger = logging.getLogger("graftwork.serve")

_FIRST_ERROR = 400
_SERVER_FAULT = 500
# Codes for errors that come without a word; the same status means the same wherever it is from.
CODES = {
    HTTPStatus.BAD_REQUEST: "invalid_request",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body_too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid_request",
    HTTPStatus.TOO_MANY_REQUESTS: "overloaded",
    HTTPStatus.NOT_IMPLEMENTED: "not_supported",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}
_INTERNAL = "The server failed at this request; try again, and tell whoever runs it the request id."
# vLLM lists what pydantic found, one dict a line: {'type': ..., 'loc': ('body', 'top_p'), 'msg': '...', 'input': ...}.
_FINDING = re.compile(r"""'loc': \(([^)]*)\), 'msg': (?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")""")
_LONGEST = 1_000
# Code of what went wrong in the server itself.
INTERNAL = "internal_error"
# Paths of files: absolute ones, such as a folder of the system or of anything in one, and Python's source files. A path
# of the API begins with the first part of one of its routes, and one of a URL stands behind its host.
_API = "|".join(sorted({re.escape(route.path.split("/")[1]) for route in ROUTES}))
_ROOTS = "bin|boot|data|dev|etc|home|lib|lib64|media|mnt|models|opt|proc|root|run|sbin|srv|sys|tmp|usr|var|workspace"
_FILE = re.compile(
    r"file://\S*[^\s.,;:'\")\]}>]"
    rf"|(?<![\w/.:~<-])~?/(?!(?:{_API})\b)(?:[\w.@+%=-]+/[\w.@+%=/-]*[\w@+%=/-]|(?:{_ROOTS})\b)"
    r"|(?<![\w/.:-])(?:[\w.-]+/)+[\w.-]+\.py\b"
)
_FILE_NAME = "<path>"


class ErrorLayer:
    """Rewrites foreign errors, answers for exceptions, and puts the request's id into all of them."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = header(scope, b"x-request-id")
        answer = _Rewriter(send, request_id=request_id)
        try:
            await self._app(scope, receive, answer)
        except Exception:
            logger.exception("request %s failed", request_id)
            if answer.started:
                raise
            await answer.fail()


class _Rewriter:
    """A send channel that holds an error back until it is whole."""

    def __init__(self, send: Send, *, request_id: str | None) -> None:
        self._send = send
        self._request_id = request_id
        self._start: Message | None = None
        self._body: list[bytes] = []
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= _FIRST_ERROR:
            self._start = message
        elif self._start is None:
            self.started = True
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body.append(message.get("body", b""))
            if not message.get("more_body"):
                await self._finish(self._start, b"".join(self._body))

    async def fail(self) -> None:
        """Answer for an exception."""
        await self._write({"type": "http.response.start", "status": 500, "headers": []}, None)

    async def _finish(self, start: Message, body: bytes) -> None:
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        await self._write(start, found if isinstance(found, dict) else None)

    async def _write(self, start: Message, found: JsonObject | None) -> None:
        content = shaped(found, status=start["status"])
        error = content["error"]
        assert isinstance(error, dict)
        if self._request_id is not None:
            error["request_id"] = self._request_id
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        described = (b"content-length", b"content-type")
        headers = [(name, value) for name, value in start["headers"] if name.lower() not in described]
        described_now = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        self.started = True
        await self._send({**start, "headers": [*headers, *described_now]})
        await self._send({"type": "http.response.body", "body": body})


def shaped(found: JsonObject | None, *, status: int) -> JsonObject:
    """An error in OpenAI's shape from whatever answered with this status.

    Args:
        found: The answer's JSON object; None where it was none.
        status: Its HTTP status.
    """
    error = found.get("error") if found is not None else None
    detail = found.get("detail") if found is not None else None
    if isinstance(error, dict) and isinstance(error.get("code"), str):
        return {"error": error}
    code = CODES.get(HTTPStatus(status), "invalid_request" if status < _SERVER_FAULT else INTERNAL)
    if status >= _SERVER_FAULT and status != HTTPStatus.SERVICE_UNAVAILABLE:
        return error_body(status=status, message=_INTERNAL, code=code)
    said = error.get("message") if isinstance(error, dict) else detail
    param = error.get("param") if isinstance(error, dict) else None
    return error_body(
        status=status,
        message=sentence(said) if isinstance(said, str) else HTTPStatus(status).phrase + ".",
        code=code,
        param=param if isinstance(param, str) else None,
    )


def sentence(message: str) -> str:
    """What vLLM says, in one line: of a list of findings each field with what is wrong, else the text itself.

    It names no file of the server.
    """
    findings = [
        f"{'.'.join(_names(place))}: {_unescaped(single or double)}"
        for place, single, double in _FINDING.findall(message)
    ]
    text = "; ".join(dict.fromkeys(findings)) + "." if findings else " ".join(message.split())
    text = without_files(text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def without_files(text: str) -> str:
    """A text with `<path>` for every path of a file; URLs and paths of the API stay."""
    return _FILE.sub(_FILE_NAME, text)


def _names(place: str) -> list[str]:
    names = [part.strip().strip("'\"") for part in place.split(",") if part.strip()]
    return [name for name in names if name != "body"] or ["body"]


def _unescaped(text: str) -> str:
    return text.replace("\\'", "'").replace('\\"', '"')
