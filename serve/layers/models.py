"""GET /v1/models and /v1/models/{id}: the models that the sender may call."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from pydantic import JsonValue
from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import NotFoundError
from serve.catalog import Catalog
from serve.layers.call import JsonObject
from serve.layers.http import send_json, send_refusal
from serve.layers.resolve import may_call
from serve.principal import Principal, get_principal
from serve.routes import MODEL, MODELS, find_route


class ModelsLayer:
    """Answers what models there are; everything else goes on."""

    def __init__(self, app: ASGIApp, *, catalog: Callable[[], Catalog], embedder_name: str, started_at: int) -> None:
        """Wrap an app.

        Args:
            app: What answers every other request.
            catalog: Gives the catalogue of this moment.
            embedder_name: Model name of the embedder.
            started_at: Unix time in seconds, reported as the models' creation time.
        """
        self._app = app
        self._catalog = catalog
        self._embedder_name = embedder_name
        self._started_at = started_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = find_route(scope["path"]) if scope["type"] == "http" else None
        if route is MODELS:
            data: list[JsonValue] = [*self._cards(get_principal(scope))]
            await send_json(send, status=200, content={"object": "list", "data": data})
        elif route is MODEL:
            await self._send_one(unquote(scope["path"].removeprefix(MODEL.path)), get_principal(scope), send)
        else:
            await self._app(scope, receive, send)

    async def _send_one(self, name: str, principal: Principal, send: Send) -> None:
        card = model_card(self._catalog(), name, embedder_name=self._embedder_name, created=self._started_at)
        if card is not None and _is_for(principal, card):
            await send_json(send, status=200, content=card)
            return
        await send_refusal(
            send, NotFoundError(f"The model '{name}' does not exist; GET /v1/models lists those that do.")
        )

    def _cards(self, principal: Principal) -> list[JsonObject]:
        catalog = self._catalog()
        cards = model_cards(catalog, embedder_name=self._embedder_name, created=self._started_at)
        return [card for card in cards if _is_for(principal, card)]


def model_cards(catalog: Catalog, *, embedder_name: str, created: int) -> list[JsonObject]:
    """One OpenAI model object per callable name: base, specialists, adapter versions, embedder, in this order."""
    names = [catalog.base_name, *sorted(catalog.specialists), *catalog.versions(), embedder_name]
    cards = (model_card(catalog, name, embedder_name=embedder_name, created=created) for name in names)
    return [card for card in cards if card is not None]


def model_card(catalog: Catalog, name: str, *, embedder_name: str, created: int) -> JsonObject | None:
    """The OpenAI model object of one name that `model_cards` has; None for every other."""
    if name == catalog.base_name:
        return _card(name, kind="base", parent=None, created=created)
    specialist = catalog.specialists.get(name)
    if specialist is not None:
        card = _card(name, kind="specialist", parent=catalog.base_name, created=created)
        return {**card, "adapter": list(specialist.adapter_refs), "collection": specialist.collection}
    if catalog.serves(name):
        return _card(name, kind="adapter", parent=catalog.base_name, created=created)
    return _card(name, kind="embedder", parent=None, created=created) if name == embedder_name else None


def _card(name: str, *, kind: str, parent: str | None, created: int) -> JsonObject:
    return {"id": name, "object": "model", "created": created, "owned_by": "graftwork", "kind": kind, "parent": parent}


def _is_for(principal: Principal, card: JsonObject) -> bool:
    collection = card.get("collection")
    return may_call(principal, name=str(card["id"]), collection=collection if isinstance(collection, str) else None)
