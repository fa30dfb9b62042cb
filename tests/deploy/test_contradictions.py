from __future__ import annotations

import pytest
from pydantic import JsonValue

from deploy.contradictions import EMBEDDER_LIMITS, find_contradictions, fixed_ports, milvus_port, starts_milvus
from deploy.settings import Settings
from indexer.chunking.chunks import chunker_settings
from indexer.chunking.tokens import load_tokenizer
from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.errors import InputError
from indexer.settings import IndexerSettings


def keys(**sections: JsonValue) -> list[tuple[str, ...]]:
    return [found.keys for found in find_contradictions(Settings.model_validate(sections))]


def test_the_defaults_do_not_contradict_each_other() -> None:
    assert keys() == []


@pytest.mark.parametrize(
    ("sections", "first_key"),
    [
        ({"indexer": {"chunk_tokens": 300}}, "indexer.chunk_tokens"),
        ({"train": {"rank": 32}}, "serve.max_lora_rank"),
        ({"train": {"engine_check": False}}, "serve.allow_unverified"),
        ({"serve": {"port": 8265}}, "serve.port"),
        ({"serve": {"port": 19530}}, "serve.port"),
        ({"deploy": {"ports": {"ray": 7000, "dashboard": 7000}}}, "deploy.ports.ray"),
        ({"serve": {"replicas": 4}, "deploy": {"logical_cpus": 4}}, "deploy.logical_cpus"),
        ({"train": {"workers": 9}, "deploy": {"logical_cpus": 8}}, "deploy.logical_cpus"),
        ({"train": {"use_gpu": True}, "deploy": {"gpus": 0}}, "train.use_gpu"),
        ({"serve": {"accelerator": "gpu"}, "deploy": {"gpus": 0}}, "serve.accelerator"),
        ({"serve": {"retriever_gpus": 0.5}, "deploy": {"gpus": 0}}, "serve.retriever_gpus"),
        ({"serve": {"engine": {"tensor_parallel_size": 4}}, "deploy": {"gpus": 2}}, "deploy.gpus"),
        ({"serve": {"request_timeout_s": 3601}}, "deploy.stream_limit_s"),
    ],
)
def test_each_rule_names_its_keys(sections: dict[str, JsonValue], first_key: str) -> None:
    [found] = keys(**sections)
    assert found[0] == first_key


def test_a_failing_milvus_is_heard_before_the_retrieval_is_given_up() -> None:
    assert Settings().indexer.milvus_timeout_s < Settings().serve.retrieval_timeout_s


def test_the_highest_chunk_tokens_accepted_is_the_highest_that_the_indexer_takes() -> None:
    limit = EMBEDDER_LIMITS[EMBEDDED_NAME]
    assert keys(indexer={"chunk_tokens": limit}) == []
    [found] = find_contradictions(Settings.model_validate({"indexer": {"chunk_tokens": limit + 1}}))
    assert f"set it to {limit} or less" in found.sentence
    files = resolve_embedder(EMBEDDED_NAME)
    special = load_tokenizer(files.path).special_tokens
    chunker_settings(IndexerSettings(chunk_tokens=limit), max_tokens=files.max_tokens, special_tokens=special)
    with pytest.raises(InputError, match=f"set it to {limit} or less"):
        chunker_settings(IndexerSettings(chunk_tokens=limit + 1), max_tokens=files.max_tokens, special_tokens=special)


def test_an_unknown_embedders_limit_is_left_to_the_embedder() -> None:
    assert keys(indexer={"embedder": "BAAI/bge-m3", "chunk_tokens": 2000}) == []


def test_without_haproxy_nothing_cuts_streams() -> None:
    assert keys(serve={"request_timeout_s": 9000, "haproxy": False}) == []


def test_free_choices_of_ports_never_collide() -> None:
    assert keys(deploy={"ports": {"ray": 0, "dashboard": 0, "haproxy_stats": 0}}) == []


@pytest.mark.parametrize(
    ("uri", "told", "starts"),
    [
        ("http://127.0.0.1:19530", None, True),
        ("http://localhost:1", None, True),
        ("http://milvus.far:19530", None, False),
        ("http://127.0.0.1:19530", False, False),
    ],
)
def test_milvus_is_started_for_this_machine_only(uri: str, told: bool | None, starts: bool) -> None:
    settings = Settings.model_validate({"indexer": {"milvus_uri": uri}, "deploy": {"start_milvus": told}})
    assert starts_milvus(settings) is starts
    assert ("indexer.milvus_uri" in fixed_ports(settings)) is starts


def test_milvus_has_a_default_port() -> None:
    assert milvus_port(Settings.model_validate({"indexer": {"milvus_uri": "http://localhost"}})) == 19530
