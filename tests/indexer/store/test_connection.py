from __future__ import annotations

import time

import grpc
import pytest
from pymilvus.exceptions import ErrorCode, MilvusException, ParamError
from pymilvus.grpc_gen import common_pb2

from indexer.errors import GraftworkError, InputError, UnavailableError
from indexer.store.connection import RefusedError, probe, refusal_of, refusals, server_address, translated
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


class Denied(grpc.RpcError):
    """As gRPC raises what a proxy of Milvus answers to a token that it does not know."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAUTHENTICATED

    def details(self) -> str:
        return "auth check failure, please check api key is correct"


def hidden_behind_connecting() -> MilvusException:
    error = MilvusException(2, "Fail connecting to server on h:1, illegal connection params or server unavailable")
    error.__cause__ = Denied()
    return error


@pytest.mark.parametrize(
    "error",
    [
        Denied(),
        hidden_behind_connecting(),
        MilvusException(1401, "privilege not permitted: deny Load"),
        MilvusException(grpc.StatusCode.PERMISSION_DENIED, "Load: permission deny to ada"),  # type: ignore[arg-type]
    ],
)
def test_a_refused_token_is_told_as_that(error: Exception) -> None:
    told = r"Milvus at http://h:1 refuses the token \(connect: .*\); set indexer.milvus_token"
    with pytest.raises(UnavailableError, match=told), translated("http://h:1", "connect"):
        raise error


def test_any_other_error_of_milvus_is_one_sentence_with_server_and_action() -> None:
    error = MilvusException(65535, "node not match\nstack trace of goroutine 7")
    with pytest.raises(MilvusException), translated("http://h:1", "outer"), translated("http://h:1", "read c__g1"):
        raise error
    told = refusal_of(error)
    assert type(told) is GraftworkError
    assert str(told) == (
        "Milvus at http://h:1 refuses what is asked of it (read c__g1: node not match, code 65535); look at the "
        "server's log, then run the same command again."
    )
