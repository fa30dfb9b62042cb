from __future__ import annotations

import json

from deploy.local.app_config import application_args, secret_environment, serve_config
from deploy.settings import Settings
from serve.app import parse_args


def test_serve_accepts_the_document() -> None:
    from ray.serve.schema import ServeDeploySchema

    settings = Settings.model_validate({"serve": {"host": "127.0.0.1", "port": 8123}})
    config = ServeDeploySchema.model_validate(json.loads(json.dumps(serve_config(settings))))
    assert (config.http_options.host, config.http_options.port) == ("127.0.0.1", 8123)
    [application] = config.applications
    assert (application.import_path, application.route_prefix) == ("serve.app:build", "/")


def test_the_builder_accepts_the_arguments() -> None:
    settings = Settings.model_validate({"serve": {"engine": {"max_model_len": 64}}, "train": {"base_model": "m"}})
    args = parse_args(json.loads(json.dumps(application_args(settings))))
    assert args.base_model == "m"
    assert args.serve == settings.serve
    assert args.registry == settings.train.registry


def test_the_milvus_token_goes_by_the_environment_alone() -> None:
    settings = Settings.model_validate({"indexer": {"milvus_token": "root:hidden"}})
    document = json.dumps(serve_config(settings))
    assert "hidden" not in document
    assert "***" not in document
    assert secret_environment(settings) == {"GRAFTWORK_INDEXER__MILVUS_TOKEN": "root:hidden"}
    assert secret_environment(Settings()) == {}
