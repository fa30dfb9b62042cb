"""GET /v1/models and /v1/models/{id} from the catalogue, and GET /healthz."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from pydantic import JsonValue
from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import NotFoundError
from serve.catalog import Catalog
from serve.layers.call import JsonObject
from serve.layers.http import send_json, send_refusal

_MODELS = "/v1/models"


class ModelsLayer:
    """Answers what models there are; everything else goes on."""

    def __init__(self, app: ASGIApp, *, catalog: Callable[[], Catalog], started_at: int) -> None:
        """Wrap an app.

        Args:
            app: What answers every other request.
            catalog: Gives the catalogue of this moment.
            started_at: Unix time in seconds, reported as the models' creation time.
        """
        self._app = app
        self._catalog = catalog
        self._started_at = started_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
        elif path == "/healthz":
            await send_json(send, status=200, content={"status": "ok"})
        elif path == _MODELS:
            data: list[JsonValue] = [*model_cards(self._catalog(), created=self._started_at)]
            await send_json(send, status=200, content={"object": "list", "data": data})
        elif path.startswith(f"{_MODELS}/"):
            await self._send_one(unquote(path.removeprefix(f"{_MODELS}/")), send)
        else:
            await self._app(scope, receive, send)

    async def _send_one(self, name: str, send: Send) -> None:
        for card in model_cards(self._catalog(), created=self._started_at):
            if card["id"] == name:
                await send_json(send, status=200, content=card)
                return
        await send_refusal(
            send, NotFoundError(f"The model '{name}' does not exist; GET /v1/models lists those that do.")
        )


def model_cards(catalog: Catalog, *, created: int) -> list[JsonObject]:
    """One OpenAI model object per callable name: the base, the specialists, the adapter versions, in this order."""
    cards: list[JsonObject] = [_card(catalog.base_name, kind="base", parent=None, created=created)]
    for name, specialist in sorted(catalog.specialists.items()):
        card = _card(name, kind="specialist", parent=catalog.base_name, created=created)
        card["adapter"] = list(specialist.adapter_refs)
        card["collection"] = specialist.collection
        cards.append(card)
    versions = {manifest.ref for manifest in catalog.adapters.values()}
    cards += [_card(ref, kind="adapter", parent=catalog.base_name, created=created) for ref in sorted(versions)]
    return cards


def _card(name: str, *, kind: str, parent: str | None, created: int) -> JsonObject:
    return {"id": name, "object": "model", "created": created, "owned_by": "graftwork", "kind": kind, "parent": parent}
