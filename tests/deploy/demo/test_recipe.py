"""The demo's settings and specialists."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.contradictions import find_contradictions, fixed_ports
from deploy.demo import recipe
from deploy.engine_arguments import check_engine_arguments
from deploy.settings import load_settings
from serve.specialist import parse_specialist

PORTS = recipe.DemoPorts(milvus=21001, serve=21002)


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graftwork.yaml").write_text(
        "home: h\n"
        "indexer: {milvus_uri: 'http://milvus.example:19530', milvus_token: secret, chunk_tokens: 60}\n"
        "train: {base_model: ./mine, registry: ./shared-registry, models_dir: ./models}\n"
        "serve: {port: 9000, replicas: 3, haproxy: false}\n"
        "deploy: {run_dir: ./run, stop_timeout_s: 7, ports: {ray: 8301, ray_client: 8302, dashboard: 8303,\n"
        "  dashboard_agent: 8304, serve_fallback: 8305, haproxy_metrics: 8306, haproxy_stats: 8307, metrics: 8308}}\n"
    )
    return load_settings().settings


def test_nothing_of_the_users_is_written_to(user, tmp_path):
    demo = recipe.demo_settings(user, ports=PORTS)
    home = tmp_path / "h" / "demo"
    own = (demo.home, demo.train.registry, demo.train.storage_path, demo.run_dir, demo.milvus_data)
    assert own == (home, home / "registry", home / "runs", home / "run", home / "milvus")
    assert demo.indexer.milvus_uri == "http://127.0.0.1:21001"
    assert demo.indexer.milvus_token is None
    assert demo.deploy.start_milvus


def test_the_machines_settings_are_kept_and_the_recipe_is_the_demos(user, tmp_path):
    demo = recipe.demo_settings(user, ports=PORTS)
    assert demo.train.models_dir == tmp_path / "models"
    assert demo.serve.haproxy is False
    assert demo.deploy.stop_timeout_s == 7
    assert demo.train.base_model == "smollm2-135m-instruct"
    assert (demo.serve.port, demo.serve.replicas) == (21002, 1)


def test_the_instance_may_run_beside_the_users(user):
    assert 0 not in user.deploy.ports.model_dump().values()  # Every port is fixed, also one that is new.
    demo = recipe.demo_settings(user, ports=PORTS)
    assert set(demo.deploy.ports.model_dump().values()) == {0}
    assert not set(fixed_ports(demo).values()) & set(fixed_ports(user).values())


def test_the_settings_do_not_contradict_each_other(user):
    demo = recipe.demo_settings(user, ports=PORTS)
    assert list(find_contradictions(demo)) == []
    check_engine_arguments(demo.serve.engine, place=lambda key: "")


def test_context_and_answer_fit_the_engine_and_a_training_row():
    demo = recipe.demo_settings(load_settings(home=Path("/nowhere")).settings, ports=PORTS)
    longest = recipe.RETRIEVAL.max_context_tokens + 200 + recipe.MAX_NEW_TOKENS
    assert longest <= recipe.MAX_MODEL_LEN
    assert longest <= demo.train.max_length


@pytest.mark.parametrize("arm", recipe.ARMS)
def test_specialists_differ_in_their_grafts_only(arm):
    made = recipe.specialist(arm, adapter_ref="demo@3", base="base")
    assert made.adapter == ("demo@3" if arm.adapter else None)
    assert made.collection == ("demo" if arm.retrieval else None)
    plain = recipe.specialist(recipe.BASE, adapter_ref="demo@3", base="base")
    assert made.model_copy(update={"name": plain.name, "adapter": None, "collection": None}) == plain
    assert parse_specialist(made.model_dump_json(by_alias=True).encode(), source="it") == made


def test_the_four_arms_are_all_there_is():
    assert {(arm.retrieval, arm.adapter) for arm in recipe.ARMS} == {
        (a, b) for a in (False, True) for b in (False, True)
    }
    assert recipe.WITH_BOTH.grafts == "retrieval + adapter"
    assert recipe.BASE.grafts == "nothing"
