"""A milvus-lite server, an S3 server, a tokenizer, an embedder and a small Ray, each once per session."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indexer.chunking.tokens import EmbedderTokenizer, load_tokenizer
from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.errors import UnavailableError
from indexer.settings import IndexerSettings
from indexer.store.connection import probe
from indexer.store.milvus import MilvusStore
from tests.milvus_server import running_milvus
from tests.s3 import S3Server, running_s3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_milvus(data: Path, port: int) -> subprocess.Popen[bytes]:
    arguments = ["server", "--data-dir", str(data), "--host", "127.0.0.1", "--port", str(port)]
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.local.milvus_main", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_until_listening(uri: str, *, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return probe(uri, timeout_s=1.0)
        except UnavailableError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


@contextmanager
def milvus_lite(data: Path) -> Iterator[str]:
    """A server of its own on a data folder; its address."""
    port = free_port()
    process = start_milvus(data, port)
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until_listening(uri, timeout_s=30)
        yield uri
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with milvus_lite(tmp_path_factory.mktemp("milvus")) as uri:
        yield uri


@pytest.fixture
def store(milvus_uri: str) -> Iterator[MilvusStore]:
    opened = MilvusStore(milvus_uri)
    yield opened
    opened.close()


@pytest.fixture
def settings(milvus_uri: str) -> IndexerSettings:
    return IndexerSettings(milvus_uri=milvus_uri)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(free_port(), tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def importing_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that imports files, which milvus-lite does not; it has no BM25."""
    with running_milvus(free_port(), tmp_path_factory.mktemp("milvus") / "server") as uri:
        yield uri


@pytest.fixture(scope="session")
def tokenizer() -> EmbedderTokenizer:
    return load_tokenizer(resolve_embedder(EMBEDDED_NAME).path)


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder(EMBEDDED_NAME)
