"""The Serve config document of the application, from the settings. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from serve.scale import Scale, deployments, scaled
from serve.settings import MILVUS_TOKEN_VARIABLE, QUOTA_STORAGE_VARIABLE, AppArgs
from serve.telemetry.logs import serve_logging

if TYPE_CHECKING:
    from deploy.settings import Settings

APP_NAME = "graftwork"
IMPORT_PATH = "serve.app:build"


def serve_config(settings: Settings) -> dict[str, JsonValue]:
    """What `PUT /api/serve/applications/` and `serve deploy` take."""
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": settings.serve.host, "port": settings.serve.port},
        "logging_config": serve_logging(settings.serve.telemetry.log_format),
        "applications": [
            {
                "name": APP_NAME,
                "import_path": IMPORT_PATH,
                "route_prefix": "/",
                "args": application_args(settings),
                "deployments": list[JsonValue](deployments(settings.serve)),
            }
        ],
    }


def application_args(settings: Settings) -> dict[str, JsonValue]:
    """`serve.settings.AppArgs` as JSON, without the numbers of replicas and without secrets.

    Serve writes these arguments into its logs; secrets go to the replicas in their environment, see
    `secret_environment`.
    """
    quota = settings.serve.quota.model_copy(update={"storage": None})
    args = AppArgs(
        base_model=settings.train.base_model,
        models_dir=settings.train.models_dir,
        registry=settings.train.registry,
        indexer=settings.indexer.model_copy(update={"milvus_token": None}),
        serve=scaled(settings.serve, Scale()).model_copy(update={"quota": quota}),
    )
    document: dict[str, JsonValue] = args.model_dump(mode="json")
    return document


def secret_environment(settings: Settings) -> dict[str, str]:
    """Secrets that replicas take from their environment."""
    secrets = {
        MILVUS_TOKEN_VARIABLE: settings.indexer.milvus_token,
        QUOTA_STORAGE_VARIABLE: settings.serve.quota.storage,
    }
    return {name: secret.get_secret_value() for name, secret in secrets.items() if secret is not None}
