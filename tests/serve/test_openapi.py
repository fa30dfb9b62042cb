from __future__ import annotations

import json
from pathlib import Path

from serve.openapi import document
from serve.routes import ROUTES

PUBLISHED = Path(__file__).parents[2] / "serve" / "openapi.json"


def test_the_published_document_is_the_current_one() -> None:
    assert json.loads(PUBLISHED.read_text()) == document(), (
        "write it anew: python -m serve.openapi > serve/openapi.json"
    )


def test_every_route_is_described_and_every_described_field_of_input_is_one_that_the_table_knows() -> None:
    paths = document()["paths"]
    assert isinstance(paths, dict)
    for route in ROUTES:
        path = route.path + "{name}" if route.path.endswith("/") else route.path
        operation = paths[path][route.method.lower()]  # type: ignore[index,call-overload]
        if route.takes_model:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]  # type: ignore[index,call-overload]
            assert set(route.limit_fields) <= set(schema["properties"])  # type: ignore[index,call-overload,arg-type]
            assert set(schema["properties"]).isdisjoint(route.refused_fields)  # type: ignore[index,call-overload,arg-type]
