"""The admin API: verbs of the registry over HTTP, for keys that may administer, or anyone where no keys are asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import ConflictError, GraftworkError, InputError, NotFoundError
from serve.admin import Admin, JsonObject
from serve.layers.http import (
    BodyTooLargeError,
    ClientGoneError,
    read_body,
    send_error,
    send_json,
    send_unavailable,
)
from serve.layers.resolve import parse_body
from serve.principal import Principal, get_principal
from serve.routes import ADMIN_ADAPTERS, ADMIN_EVENTS, Route, find_route

logger = logging.getLogger("graftwork.serve")

# An adapter's name and a number.
_MAX_BODY_BYTES = 10_000
# Changes wait for each other in the registry anyway; they hold up nothing else here.
_THREADS = 2


class AdminLayer:
    """Answers the routes of administrators; everything else goes on."""

    def __init__(self, app: ASGIApp, *, admin: Admin, timeout_s: float) -> None:
        """Wrap an app.

        Args:
            app: What answers every other request.
            admin: Runs the verbs.
            timeout_s: Seconds a client has to send its request's body.
        """
        self._app = app
        self._admin = admin
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="admin")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = find_route(scope["path"]) if scope["type"] == "http" else None
        if route is None or not route.admin:
            await self._app(scope, receive, send)
            return
        principal = get_principal(scope)
        if not principal.may_administer:
            message = "The API key may not administer; `graftwork keys create --admin` makes one that may."
            await send_error(send, status=403, message=message, code="forbidden")
            return
        try:
            work = await self._work(route, principal, scope, receive)
            # Shielded: a change that is begun is made, and told to nobody where the client has left.
            done = asyncio.get_running_loop().run_in_executor(self._threads, work)
            await send_json(send, status=200, content=await asyncio.shield(done))
        except ClientGoneError:
            return
        except TimeoutError:
            message = f"The request's body was not all here after {self._timeout_s:g} s; send it faster."
            await send_error(send, status=408, message=message, code="request_timeout")
        except BodyTooLargeError:
            message = f"The request's body has more than {_MAX_BODY_BYTES} bytes; send an adapter's name."
            closing = [(b"connection", b"close")]
            await send_error(send, status=413, message=message, code="body_too_large", headers=closing)
        except (GraftworkError, OSError) as error:
            await self._refuse(send, error)

    async def _work(
        self, route: Route, principal: Principal, scope: Scope, receive: Receive
    ) -> Callable[[], JsonObject]:
        if route is ADMIN_ADAPTERS:
            return self._admin.adapters
        if route is ADMIN_EVENTS:
            named = parse_qs(scope["query_string"].decode("latin-1")).get("adapter", [None])[0]
            return lambda: self._admin.events(named)
        async with asyncio.timeout(self._timeout_s):
            body = parse_body(await read_body(receive, max_bytes=_MAX_BODY_BYTES))
        verb = route.path.rpartition("/")[2]
        who = "api" if principal.key_id is None else f"key {principal.key_id}"
        return lambda: self._admin.run(verb, body, who=who)

    async def _refuse(self, send: Send, error: GraftworkError | OSError) -> None:
        message = self._admin.without_places(str(error))
        if isinstance(error, NotFoundError):
            await send_error(send, status=404, message=message, code="adapter_not_found", param="adapter")
        elif isinstance(error, ConflictError):
            await send_error(send, status=409, message=message, code="conflict")
        elif isinstance(error, InputError):
            await send_error(send, status=400, message=message, code="invalid_request")
        else:
            logger.warning("the registry does not do what an administrator asks: %s", error)
            await send_unavailable(send, "The registry cannot be used now; try again, the server's log says why.")
