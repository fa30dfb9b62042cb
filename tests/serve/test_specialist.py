from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import serve.specialist
from indexer.errors import InputError
from indexer.rerank.mixing import Rerank
from serve.specialist import json_schema, parse_specialist

DOCUMENT = {
    "apiVersion": "graftwork.dev/v1",
    "name": "agronomy",
    "base": "base",
    "adapter": [{"ref": "agronomy@3", "weight": 90}, {"ref": "agronomy@4", "weight": 10}],
    "collection": "handbook",
    "retrieval": {
        "k": 6,
        "dense_weight": 0.7,
        "max_context_tokens": 800,
        "min_score": 0.2,
        "on_failure": "answer",
        "rerank": {"by": "model", "depth": 30, "weight": 0.8},
    },
    "prompt": "You advise growers.",
    "fallback": "base",
    "generation_defaults": {"temperature": 0, "max_tokens": 96},
}


def test_a_full_document_is_read_and_fits_the_published_schema() -> None:
    specialist = parse_specialist(json.dumps(DOCUMENT).encode(), source="file")
    assert specialist.adapter_refs == ("agronomy@3", "agronomy@4")
    assert specialist.retrieval.rerank is not None
    assert specialist.retrieval.rerank.chosen == Rerank(by="model", depth=30, weight=0.8)
    jsonschema.validate(DOCUMENT, json_schema())


def test_the_published_schema_is_the_models() -> None:
    published = Path(serve.specialist.__file__).with_name("specialist.schema.json")
    assert json.loads(published.read_text()) == json_schema(), "write it anew: python -m serve.specialist > …"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Agronomy"}, "name: "),
        ({"colection": "handbook"}, "colection: Extra inputs"),
        ({"adapter": "agronomy"}, "adapter"),
        ({"adapter": "../x@1"}, "adapter"),
        ({"adapter": "agronomy@0"}, "adapter"),
        ({"adapter": []}, "at least one entry"),
        ({"adapter": [{"ref": "a@1", "weight": 1}, {"ref": "a@1", "weight": 2}]}, "twice: a@1, a@1"),
        ({"retrieval": {"k": 0}}, "retrieval.k"),
        ({"retrieval": {"rerank": {"by": "magic"}}}, "retrieval.rerank.by"),
        ({"retrieval": {"rerank": {"by": "model", "depth": 201}}}, "retrieval.rerank.depth"),
        ({"apiVersion": "graftwork.dev/v2"}, "apiVersion"),
    ],
)
def test_a_document_that_does_not_fit_names_the_field(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_specialist(json.dumps({**DOCUMENT, **change}).encode(), source="agronomy.json")
    assert str(caught.value).startswith("agronomy.json is not a specialist: ")
    assert words in str(caught.value)


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(InputError, match="is not a specialist"):
        parse_specialist(b"{", source="x")
