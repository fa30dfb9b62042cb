from __future__ import annotations

import time

import pytest
from pymilvus.exceptions import ErrorCode, MilvusException, ParamError
from pymilvus.grpc_gen import common_pb2

from indexer.errors import InputError, UnavailableError
from indexer.store.connection import RefusedError, probe, refusals, server_address, translated
from indexer.store.milvus import MilvusStore
from indexer.store.retry import call_with_retry
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


@pytest.mark.parametrize(
    "error",
    [
        MilvusException(ErrorCode.RATE_LIMIT, "request is rejected: rate limit exceeded[rate=0.1]"),
        MilvusException(ErrorCode.FORCE_DENY, "quota exceeded[reason=memory quota exhausted]"),
        MilvusException(message="force to deny writing", compatible_code=common_pb2.ForceDeny),
        MilvusException(13, "channel not available", retriable=True),
    ],
)
def test_a_server_that_takes_no_more_for_now_is_waited_for(error: MilvusException) -> None:
    outcomes: list[MilvusException | None] = [error, None]
    waits: list[float] = []

    def write() -> str:
        with translated("http://h:1", "upsert"), refusals("http://h:1", "upsert"):
            if (now := outcomes.pop(0)) is not None:
                raise now
        return "written"

    assert call_with_retry(write, description="", before_retry=lambda: None, sleep=waits.append) == "written"
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (MilvusException(1100, "length of varchar field text exceeds max length: invalid parameter"), True),
        (MilvusException(1102, "insert request size exceeds maxInsertSize: parameter too large"), True),
        (MilvusException(6, "field 'page' value does not match dtype", compatible_code=6), True),
        (MilvusException(message="illegal", compatible_code=common_pb2.IllegalArgument), True),
        (ParamError(message="length of string exceeds max length"), True),
        (MilvusException(ErrorCode.COLLECTION_NOT_FOUND, "collection not found", compatible_code=4), False),
        (MilvusException(5, "service internal error"), False),
    ],
)
def test_only_what_concerns_rows_is_a_refusal_of_them(error: MilvusException, refused: bool) -> None:
    with (
        pytest.raises(RefusedError if refused else MilvusException) as caught,
        translated("http://h:1", "upsert"),
        refusals("http://h:1", "upsert"),
    ):
        raise error
    assert (caught.value is error) is not refused


def test_a_server_whose_disk_is_full_is_told_as_that() -> None:
    error = MilvusException(1, "[Errno 28] No space left on device: '/data/0.parquet'")
    told = r"http://h:1 cannot write to its disk \(flush c__g1: No space left on device\)"
    with pytest.raises(UnavailableError, match=told), translated("http://h:1", "flush c__g1"):
        raise error
