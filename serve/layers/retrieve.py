"""POST /v1/retrieve: a specialist's passages for a question, without an answer."""

from __future__ import annotations

import json
import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import GraftworkError, InputError
from indexer.passages import Passage
from serve.layers.call import Call, get_call
from serve.layers.http import send_json_bytes, send_refusal, send_unavailable
from serve.overrides import FIELD
from serve.retrieved import Retrieved
from serve.routes import RETRIEVE

logger = logging.getLogger("graftwork.serve")


class RetrieveLayer:
    """Answers what asks for passages; everything else goes on."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap what answers every other request."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None or call.route is not RETRIEVE:
            await self._app(scope, receive, send)
            return
        try:
            if call.search is None:
                raise InputError(why_nothing(call))
            passages = await call.search
        except InputError as error:
            await send_refusal(send, error)
        except GraftworkError as error:
            logger.warning("retrieval for %s failed: %s", call.target.name, error)
            message = f"Retrieval for '{call.target.name}' failed; try again, the server's log says why."
            await send_unavailable(send, message)
        else:
            call.clock("total_ms", call.started)
            await send_json_bytes(send, status=200, body=answer(call, passages).model_dump_json().encode())


def why_nothing(call: Call) -> str:
    """What is wrong with a request that leads to no search."""
    specialist = call.target.specialist
    if specialist is None or specialist.collection is None:
        return f"'{call.target.name}' has no collection that could be asked; name a specialist with one."
    if call.plan is not None and not call.plan.wanted:
        return (
            f"The field '{FIELD}.retrieve' is false; leave it out, or there is nothing that POST {RETRIEVE.path} does."
        )
    return f"The field 'query' is {json.dumps(call.body.get('query'))[:40]}; ask something, as text."


def answer(call: Call, passages: tuple[Passage, ...]) -> Retrieved:
    """The answer of a call whose search has ended."""
    assert call.collection is not None
    assert call.generation is not None
    return Retrieved(
        model=call.target.name,
        collection=call.collection,
        generation=call.generation,
        data=passages,
        timings=call.timings,
    )
