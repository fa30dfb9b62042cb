"""The Serve config document of the application, from the settings. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from serve.settings import AppArgs

if TYPE_CHECKING:
    from deploy.settings import Settings

APP_NAME = "graftwork"
IMPORT_PATH = "serve.app:build"


def serve_config(settings: Settings) -> dict[str, JsonValue]:
    """What `PUT /api/serve/applications/` and `serve deploy` take."""
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": settings.serve.host, "port": settings.serve.port},
        "applications": [
            {"name": APP_NAME, "import_path": IMPORT_PATH, "route_prefix": "/", "args": application_args(settings)}
        ],
    }


def application_args(settings: Settings) -> dict[str, JsonValue]:
    """`serve.settings.AppArgs` as JSON. The Milvus token stands in it in clear text: the replicas need it."""
    args = AppArgs(
        base_model=settings.train.base_model,
        models_dir=settings.train.models_dir,
        registry=settings.train.registry,
        indexer=settings.indexer,
        serve=settings.serve,
    )
    document: dict[str, JsonValue] = args.model_dump(mode="json")
    token, indexer = settings.indexer.milvus_token, document["indexer"]
    if token is not None and isinstance(indexer, dict):
        indexer["milvus_token"] = token.get_secret_value()
    return document
