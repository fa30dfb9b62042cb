"""POST /v1/embeddings: the retriever's embedder, which makes batches over requests."""

from __future__ import annotations

import asyncio
import json
import logging
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import GraftworkError, InputError
from serve.embeddings import answer, encoding_of, parse_request
from serve.layers.call import Call, Usage, get_call
from serve.layers.http import send_json_bytes, send_refusal, send_unavailable
from serve.retriever import Embedding
from serve.routes import EMBEDDINGS

logger = logging.getLogger("graftwork.serve")


class EmbeddingsLayer:
    """Answers what asks for vectors; everything else goes on."""

    def __init__(self, app: ASGIApp, *, embedding: Embedding) -> None:
        """Wrap an app.

        Args:
            app: What answers every other request.
            embedding: Makes the vectors.
        """
        self._app = app
        self._embedding = embedding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None or call.route is not EMBEDDINGS:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._embed(call)
        except InputError as error:
            await send_refusal(send, error)
        except GraftworkError as error:
            logger.warning("embeddings failed: %s", error)
            await send_unavailable(send, "The embedder did not answer; try again, the server's log says why.")
        else:
            await send_json_bytes(send, status=200, body=body)

    async def _embed(self, call: Call) -> bytes:
        request = parse_request(call.body)
        since = time.perf_counter()
        embedded = await self._embedding.embed(request)
        call.clock("embed_ms", since)
        call.usage = Usage(prompt=embedded.tokens)

        def written() -> bytes:
            content = answer(
                embedded,
                model=call.target.name,
                encoding=encoding_of(call.body),
                dimensions=call.body.get("dimensions"),
            )
            return json.dumps(content, separators=(",", ":")).encode()

        return await asyncio.to_thread(written)
