from __future__ import annotations

import pytest

from serve.routes import MODEL, MODELS, ROUTES, find_route


def test_every_route_is_found_by_its_path() -> None:
    for route in ROUTES:
        assert find_route(route.path + ("a/b" if route.path.endswith("/") else "")) is route


def test_only_health_is_public() -> None:
    assert {route.path for route in ROUTES if route.public} == {"/healthz", "/readyz"}


def test_what_generates_is_salted_bounded_and_names_its_input() -> None:
    for route in ROUTES:
        if route.generates:
            assert route.salted
            assert route.takes_model
            assert route.prompt_fields
            assert route.limit_fields
            assert {"request_id", "kv_transfer_params"} <= set(route.refused_fields)


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/models/", "/v1/chat/completions/", "//v1/models", "/V1/models"])
def test_nothing_else_is(path: str) -> None:
    assert find_route(path) is None


def test_a_models_name_may_have_slashes() -> None:
    assert find_route("/v1/models") is MODELS
    assert find_route("/v1/models/a/b") is MODEL
