from __future__ import annotations

import json

from deploy.local.app_config import application_args, secret_environment, serve_config
from deploy.local.instance import settings_digest
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


def test_another_number_of_replicas_leaves_the_arguments_as_they_are() -> None:
    one = Settings.model_validate({"serve": {"base_name": "b/1.5"}})
    many = {"base_name": "b/1.5", "replicas": 3, "retriever_replicas": 2}
    both = Settings.model_validate({"serve": many})
    scaling = Settings.model_validate({"serve": {"base_name": "b/1.5", "autoscaling": {"max_replicas": 4}}})
    assert application_args(both) == application_args(one) == application_args(scaling)
    assert settings_digest(both) == settings_digest(one) == settings_digest(scaling)
    assert counts(both) == {"SpecialistServer:b--1_5": 3, "Retriever": 2}
    within = Settings.model_validate({"serve": {**many, "retriever": "in_process"}})
    assert counts(within) == {"SpecialistServer:b--1_5": 3}
    assert counts(scaling) == {"SpecialistServer:b--1_5": (1, 4), "Retriever": 1}


def counts(settings: Settings) -> dict[str, object]:
    """Replicas of each deployment as Serve reads them; of one that scales, least and most."""
    from ray.serve.schema import ServeDeploySchema

    [application] = ServeDeploySchema.model_validate(json.loads(json.dumps(serve_config(settings)))).applications
    found: dict[str, object] = {}
    for each in application.deployments:
        scaling = each.autoscaling_config
        auto = each.num_replicas == "auto" and isinstance(scaling, dict)
        found[each.name] = (scaling["min_replicas"], scaling["max_replicas"]) if auto else each.num_replicas
    return found
