"""A store whose server is asked in other ways: behind TLS, at another consistency, by an index of other links."""

from __future__ import annotations

import datetime
import ipaddress
import pickle
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pymilvus.milvus_client.index import IndexParams

from indexer.errors import InputError, UnavailableError
from indexer.search import open_store
from indexer.settings import IndexerSettings
from indexer.store.connection import server_address
from indexer.store.milvus import MilvusStore
from indexer.store.options import StoreOptions
from tests.indexer.making import chunk, unit_vectors
from tests.relay import relay_to


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that no authority knows, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "milvus.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def secure_uri(milvus_uri: str, certificate: tuple[Path, Path]) -> Iterator[str]:
    """The server behind a TLS terminator, as a managed Milvus stands behind a load balancer."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2"])
    with relay_to(server_address(milvus_uri)[1], tls=context) as relay:
        yield f"https://127.0.0.1:{relay.port}"


def test_a_server_behind_tls_is_known_by_its_certificate(secure_uri: str, certificate: tuple[Path, Path]) -> None:
    store = open_store(IndexerSettings(milvus_uri=secure_uri, milvus_ca_file=certificate[0]))
    made = store.ensure_generation("guarded", embedder="model@a", dimension=8)
    store.upsert(made.physical, [chunk("behind glass")], unit_vectors(1, dimension=8), tenant="t")
    store.point_alias("guarded", made.physical)
    [found] = store.search_dense(made.physical, unit_vectors(1, dimension=8), tenant="t", k=1)
    assert [passage.text for passage in found] == ["behind glass"]
    assert pickle.loads(pickle.dumps(store)).locate("guarded").physical == made.physical
    store.close()


def test_a_server_that_no_authority_knows_is_refused(secure_uri: str) -> None:
    with pytest.raises(UnavailableError, match=r"Milvus at https://127\.0\.0\.1:\d+ did not answer \(connect"):
        MilvusStore(secure_uri, timeout_s=2.0).resolve("guarded")


@pytest.mark.parametrize("content", [None, b"no certificate\n"])
def test_a_file_without_certificates_is_named(milvus_uri: str, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"milvus_ca_file {path} cannot be used"):
        MilvusStore(milvus_uri, options=StoreOptions(ca_file=path)).resolve("guarded")


@pytest.mark.parametrize("level", ["strong", "session", "bounded", "eventually"])
def test_every_consistency_is_one_that_the_server_takes(milvus_uri: str, level: str) -> None:
    store = open_store(IndexerSettings.model_validate({"milvus_uri": milvus_uri, "milvus_consistency": level}))
    made = store.ensure_generation("levels", embedder="model@a", dimension=8)
    store.upsert(made.physical, [chunk("here")], unit_vectors(1, dimension=8), tenant="t")
    [found] = store.search_dense(made.physical, unit_vectors(1, dimension=8), tenant="t", k=1)
    assert [passage.text for passage in found] == ["here"]


def test_settings_reach_the_index_and_the_loading_of_new_collections(
    monkeypatch: pytest.MonkeyPatch, milvus_uri: str
) -> None:
    """milvus-lite keeps neither the links nor the number of copies, so this looks at what it is asked for."""
    asked: dict[str, object] = {}
    settings = IndexerSettings(milvus_uri=milvus_uri, hnsw_m=8, hnsw_ef_construction=50, hnsw_ef=99, milvus_replicas=2)
    store = open_store(settings)
    client = store.client()
    create_index, load, search = client.create_index, client.load_collection, client.search

    def keep_index(name: str, params: IndexParams, **more: Any) -> object:
        asked.update(next(each.to_dict() for each in params if each.field_name == "dense"))
        return create_index(name, params, **more)

    def keep_load(name: str, **more: Any) -> object:
        asked["replica_number"] = more.pop("replica_number")
        return load(name, **more)

    def keep_search(name: str, **more: Any) -> object:
        asked["ef"] = more["search_params"]["params"]["ef"]
        return search(name, **more)

    monkeypatch.setattr(client, "create_index", keep_index)
    monkeypatch.setattr(client, "load_collection", keep_load)
    monkeypatch.setattr(client, "search", keep_search)
    made = store.ensure_generation("linked", embedder="model@a", dimension=8)
    store.search_dense(made.physical, unit_vectors(1, dimension=8), tenant="t", k=1)
    expected = {"M": 8, "efConstruction": 50, "ef": 99, "replica_number": 2}
    assert {name: asked[name] for name in expected} == expected
