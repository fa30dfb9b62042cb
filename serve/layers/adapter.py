"""Makes sure that the adapter a request needs is in the engine, and keeps it there until the answer is out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import GraftworkError, UnavailableError
from serve.layers.call import Call, get_call
from serve.layers.http import send_unavailable
from serve.residency.engine import EngineAdapter
from serve.residency.manager import Residency
from train.registry.manifest import AdapterManifest

logger = logging.getLogger("graftwork.serve")


class AdapterLayer:
    """Leases the target's adapter and points the request at it; falls back to the base where the specialist allows."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        residency: Residency,
        files: Callable[[AdapterManifest], AbstractAsyncContextManager[Path]],
        engine_base: str,
        wait_s: float,
    ) -> None:
        """Wrap an app.

        Args:
            app: What serves the request with its adapter in place.
            residency: Keeps adapters in the engine.
            files: Checked folder of an adapter version, kept for the block; raises GraftworkError where a file is not
                as published.
            engine_base: Name under which the engine knows the base model.
            wait_s: Seconds a request waits for the check of its adapter's files; they count for the lease.
        """
        self._app = app
        self._residency = residency
        self._files = files
        self._engine_base = engine_base
        self._wait_s = wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None:
            await self._app(scope, receive, send)
            return
        call.body["model"] = self._engine_base
        if not call.route.generates:
            await self._app(scope, receive, send)
            return
        manifest = call.target.adapter
        if manifest is None:
            if call.target.missing is not None:
                logger.warning("adapter %s is not in the catalogue; the base answers", call.target.missing)
                call.fallback = call.target.missing
            await self._app(scope, receive, send)
            return
        since = time.perf_counter()
        served = False
        try:
            async with AsyncExitStack() as held:
                path = await self._checked_path(manifest, held)
                adapter = EngineAdapter(engine_id=manifest.engine_id, engine_name=manifest.ref, path=path)
                await held.enter_async_context(self._residency.lease(adapter, waited_s=time.perf_counter() - since))
                call.clock("adapter_ms", since)
                call.adapter = call.body["model"] = adapter.engine_name
                served = True
                await self._app(scope, receive, send)
        except GraftworkError as error:
            if served:
                raise
            logger.warning("adapter %s is not available: %s", manifest.ref, error)
            await self._without_adapter(call, manifest, scope, receive, send)

    async def _checked_path(self, manifest: AdapterManifest, held: AsyncExitStack) -> Path:
        try:
            async with asyncio.timeout(self._wait_s):
                return await held.enter_async_context(self._files(manifest))
        except TimeoutError as error:
            raise UnavailableError(
                f"The files of adapter {manifest.ref} were still being checked after {self._wait_s:g} s; "
                "try again, or raise serve.adapter_wait_s."
            ) from error

    async def _without_adapter(
        self, call: Call, manifest: AdapterManifest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        specialist = call.target.specialist
        if specialist is None or specialist.fallback == "error":
            whose = f" of '{specialist.name}'" if specialist is not None else ""
            message = f"The adapter '{manifest.ref}'{whose} is not available now; try again, the server's log says why."
            await send_unavailable(send, message, param="model")
            return
        call.fallback = manifest.ref
        await self._app(scope, receive, send)
