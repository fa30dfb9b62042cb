from __future__ import annotations

import time

import pytest

from indexer.errors import InputError, UnavailableError
from indexer.store.connection import probe, server_address
from indexer.store.milvus import MilvusStore
from tests.indexer.conftest import free_port


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://127.0.0.1:19530", ("127.0.0.1", 19530)),
        ("http://milvus", ("milvus", 19530)),
        ("https://x.zillizcloud.com", ("x.zillizcloud.com", 443)),
        ("http://user:pw@h:1", ("h", 1)),
    ],
)
def test_addresses(uri: str, address: tuple[str, int]) -> None:
    assert server_address(uri) == address


@pytest.mark.parametrize(
    "uri", ["", "milvus.db", "./data/milvus.db", "file:///x", "http://", "http://h:99999", "http://h:x"]
)
def test_what_is_no_server_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="milvus_uri"):
        server_address(uri)


def test_an_unreachable_server_is_named_within_seconds() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=uri):
        MilvusStore(uri).locate("any")
    assert time.monotonic() - began < 5


def test_a_listening_server_is_found(milvus_uri: str) -> None:
    probe(milvus_uri)
