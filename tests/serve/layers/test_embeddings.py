from __future__ import annotations

import base64
import struct

import pytest

from indexer.errors import UnavailableError
from tests.serve.layers.conftest import Graph

PATH = "/v1/embeddings"


async def test_vectors_are_numbers_in_the_order_of_the_texts(graph: Graph) -> None:
    response = await graph.client.post(PATH, json={"model": "embedder", "input": ["rope", "lamp"]})
    body = response.json()
    assert [entry["embedding"] for entry in body["data"]] == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert [entry["index"] for entry in body["data"]] == [0, 1]
    assert (body["object"], body["model"], body["usage"]["prompt_tokens"]) == ("list", "embedder", 5)
    assert not graph.passages.asked[0].query


async def test_or_base64_of_float32_as_openais_client_asks_for(graph: Graph) -> None:
    body = {"model": "embedder", "input": "rope", "encoding_format": "base64", "input_type": "query"}
    entry = (await graph.client.post(PATH, json=body)).json()["data"][0]
    assert struct.unpack("<4f", base64.b64decode(entry["embedding"])) == (1, 0, 0, 0)
    assert graph.passages.asked[0].query


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "'input' is not a text"),
        ({"input": []}, "'input' is not a text"),
        ({"input": [1, 2]}, "'input' is not a text"),
        ({"input": ["a", ""]}, "'input' is not a text"),
        ({"input": ["a"] * 2049}, "has 2049 texts"),
        ({"input": "a", "encoding_format": "int8"}, "'encoding_format' is 'int8'"),
        ({"input": "a", "input_type": "image"}, "'input_type' is 'image'"),
        ({"input": "a", "dimensions": 3}, "'dimensions' is 3, but 'embedder' has 4"),
        ({"input": "a", "dimensions": "x"}, "'dimensions' is 'x'"),
    ],
)
async def test_what_cannot_be_embedded_is_a_400(graph: Graph, more: dict[str, object], words: str) -> None:
    response = await graph.client.post(PATH, json={"model": "embedder", **more})
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]


async def test_other_models_make_no_embeddings(graph: Graph) -> None:
    response = await graph.client.post(PATH, json={"model": "base", "input": "rope"})
    assert response.status_code == 404
    assert "'embedder' does" in response.json()["error"]["message"]


async def test_a_retriever_that_is_away_is_a_503(graph: Graph) -> None:
    graph.passages.error = UnavailableError("The retriever at 10.0.0.7 is away.")
    response = await graph.client.post(PATH, json={"model": "embedder", "input": "rope"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "10.0.0.7" not in response.text
