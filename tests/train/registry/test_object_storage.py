"""A registry in a bucket, on a real S3 server (moto's), which honours If-Match and If-None-Match as S3 does."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from indexer.errors import ConflictError, GraftworkError, InputError, NotFoundError, UnavailableError
from tests.s3 import S3Server, running_s3
from tests.stack import free_port
from tests.train.conftest import AdapterMaker
from train.base_model import BaseModelFiles
from train.registry import AdapterRegistry, Provenance, publish_adapter, remove_specialist, verbs, write_specialist
from train.registry.importing import export_adapter
from train.registry.object_storage import ObjectStorage
from train.registry.place import parse_place

BUCKET = "adapters"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(free_port(), tmp_path_factory.mktemp("s3") / "s3.log") as server:
        yield server


@pytest.fixture
def place(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    s3.start_with(BUCKET)
    for name, value in (("ACCESS_KEY_ID", "owner"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    return f"s3://{BUCKET}/team/registry{s3.query}"


@pytest.fixture
def bucket(place: str, tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(place, cache_dir=tmp_path / "cache")


@pytest.fixture
def publish(bucket: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles) -> Callable[..., None]:
    def run(count: int = 1, *, name: str = "a", make_stable: bool = True) -> None:
        for seed in range(count):
            publish_adapter(
                make_adapter(seed=seed),
                registry=bucket,
                name=name,
                base=small_base,
                provenance=Provenance(),
                make_stable=make_stable,
            )

    return run


def keys(registry: AdapterRegistry) -> list[str]:
    return sorted(held.key for part in ("adapters", "specialists") for held in registry.storage.held(part))


def test_an_empty_bucket_is_an_empty_registry(bucket: AdapterRegistry) -> None:
    assert (bucket.list(), bucket.revision(), bucket.read_specialists()) == ([], 0, {})
    with pytest.raises(NotFoundError, match="published: none"):
        bucket.resolve("a")


def test_a_version_goes_in_is_fetched_and_comes_out(
    bucket: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles, tmp_path: Path
) -> None:
    source = make_adapter()
    manifest = publish_adapter(source, registry=bucket, name="a", base=small_base, provenance=Provenance())
    assert keys(bucket) == [
        "adapters/a/1/adapter_config.json",
        "adapters/a/1/adapter_model.safetensors",
        "adapters/a/1/manifest.json",
    ]
    assert bucket.resolve("a") == manifest
    with bucket.fetched(manifest) as folder:
        assert folder.is_relative_to(tmp_path / "cache")
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            assert (folder / name).read_bytes() == (source / name).read_bytes()
    assert verbs.verify(bucket, "a@1", base=small_base, max_rank=4) == manifest
    export_adapter("a@1", tmp_path / "out", registry=bucket)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]
    with pytest.raises(InputError, match="lie in s3://"):
        bucket.path("a", 1)


def test_specialists_and_verbs_work_as_in_a_folder(bucket: AdapterRegistry, publish: Callable[..., None]) -> None:
    publish(3, make_stable=False)
    write_specialist("s", b'{"adapter": "a@3"}', registry=bucket)
    verbs.canary(bucket, "a@2", percent=10)
    verbs.promote(bucket, "a@2")
    with pytest.raises(ConflictError, match="named by the specialist s"):
        verbs.retire(bucket, "a@3")
    assert bucket.read_specialists() == {"s": b'{"adapter": "a@3"}'}
    remove_specialist("s", registry=bucket)
    assert bucket.read_specialists() == {}
    verbs.retire(bucket, "a@3")
    verbs.rollback(bucket, "a")
    entry = bucket.index().adapters["a"]
    assert (entry.stable, entry.retired, entry.canary) == (1, (3,), None)


def test_a_poll_asks_for_one_object_and_reads_nothing_where_nothing_changed(
    bucket: AdapterRegistry, publish: Callable[..., None], place: str
) -> None:
    publish(2)
    reader = AdapterRegistry(place)
    first = reader.snapshot()
    assert reader.storage.read_changed("index.json", str(first.tag)) is None
    assert reader.snapshot() is first
    verbs.promote(bucket, "a@1")
    assert reader.snapshot().index.revision == first.index.revision + 1


def test_publishers_at_once_lose_nothing_and_share_no_number(
    place: str, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    barrier = threading.Barrier(4)

    def publish(source: Path) -> tuple[int, int]:
        barrier.wait()
        registry = AdapterRegistry(place)
        found = publish_adapter(source, registry=registry, name="a", base=small_base, provenance=Provenance())
        return found.version, found.engine_id

    sources = [make_adapter(seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(publish, sources))
    registry = AdapterRegistry(place)
    assert {version for version, _ in numbers} == {1, 2, 3, 4}
    assert {engine_id for _, engine_id in numbers} == {1, 2, 3, 4}
    assert registry.list()[0].versions == (1, 2, 3, 4)
    digests = {registry.manifest("a", version).files["adapter_model.safetensors"].sha256 for version in (1, 2, 3, 4)}
    assert len(digests) == 4
    assert registry.revision() == 4


class Meeting(AdapterRegistry):
    """A registry whose change waits until the others have read the index too."""

    barrier: threading.Barrier

    def change(self, make):  # type: ignore[no-untyped-def]
        self.barrier.wait()
        return super().change(make)


def test_of_two_changes_of_one_pointer_one_wins_and_the_other_is_told(
    bucket: AdapterRegistry, publish: Callable[..., None], place: str
) -> None:
    publish(3, make_stable=False)
    barrier, parties = threading.Barrier(2), [Meeting(place), Meeting(place)]

    def promote(number: int) -> object:
        parties[number].barrier = barrier
        try:
            return verbs.promote(parties[number], f"a@{number + 2}", who=f"user-{number}")
        except GraftworkError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(promote, range(2)))
    [won] = [result for result in results if isinstance(result, verbs.Outcome)]
    [lost] = [result for result in results if isinstance(result, ConflictError)]
    assert won.event is not None
    assert f"{won.event.who} changed a at the same time" in str(lost)
    assert bucket.index().adapters["a"].stable == won.entry.stable


def test_a_writer_that_always_comes_late_gives_up_and_has_changed_nothing(
    bucket: AdapterRegistry, publish: Callable[..., None], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    monkeypatch.setattr("train.registry.index_store._LONGEST_WAIT_S", 0.0)
    other, real = AdapterRegistry(place), ObjectStorage.replace
    names = iter(f"s{number}" for number in range(1000))

    def late(storage: ObjectStorage, key: str, content: bytes, *, tag: str | None) -> None:
        if storage is bucket.storage:
            write_specialist(next(names), b"{}", registry=other)
        real(storage, key, content, tag=tag)

    monkeypatch.setattr(ObjectStorage, "replace", late)
    with pytest.raises(ConflictError, match=r"changed the registry .* 12 times"):
        verbs.pin(bucket, "a@1")
    assert other.index().adapters["a"].pinned == ()
    assert len(other.specialists()) == 12


def test_a_lost_answer_is_not_taken_for_another_writer(
    bucket: AdapterRegistry, publish: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends a conditional write again whose answer it did not get, and is refused by what it wrote."""
    publish(2)
    real = ObjectStorage.replace

    def twice(storage: ObjectStorage, key: str, content: bytes, *, tag: str | None) -> None:
        real(storage, key, content, tag=tag)
        real(storage, key, content, tag=tag)

    monkeypatch.setattr(ObjectStorage, "replace", twice)
    assert verbs.promote(bucket, "a@1").entry.stable == 1
    assert [event.verb for event in verbs.events(bucket)].count("promote") == 1


def test_damage_is_found_by_verify_and_before_an_engine_sees_a_file(
    bucket: AdapterRegistry, publish: Callable[..., None], small_base: BaseModelFiles, tmp_path: Path
) -> None:
    publish(4)
    manifests = {version: bucket.manifest("a", version) for version in (1, 2, 3, 4)}
    storage, weights = bucket.storage, "adapter_model.safetensors"
    flipped = bytearray(storage.read(f"adapters/a/1/{weights}").content)
    flipped[-1] ^= 1
    storage.write(f"adapters/a/1/{weights}", bytes(flipped))
    storage.delete("adapters/a/2/adapter_config.json")
    storage.write(f"adapters/a/3/{weights}", bytes(flipped) * 50)
    storage.write("adapters/a/4/evil.py", b"x")
    for version, says in ((1, f"damaged: {weights}"), (2, "lacks"), (3, f"damaged: {weights}")):
        with pytest.raises(InputError, match=says):
            bucket.fetch(manifests[version])
        with pytest.raises(InputError, match=says):
            bucket.verify("a", version)
    with pytest.raises(InputError, match=r"foreign files: evil\.py"):
        bucket.verify("a", 4)
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == []
    assert {path.name for path in bucket.fetch(manifests[4]).folder.iterdir()} == set(manifests[4].files)


def test_what_was_fetched_is_checked_again_by_the_next_process_and_mended(
    bucket: AdapterRegistry, publish: Callable[..., None], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    folder = bucket.fetch(bucket.resolve("a")).folder
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    again = AdapterRegistry(place, cache_dir=tmp_path / "cache")
    assert again.fetch(again.resolve("a")).folder == folder
    assert (folder / "adapter_model.safetensors").stat().st_size > 1
    monkeypatch.setattr(ObjectStorage, "fetch_files", lambda *_: pytest.fail("fetched what is here"))
    again.fetch(again.resolve("a"))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_replicas_that_fetch_one_version_at_once_all_have_it(
    bucket: AdapterRegistry, publish: Callable[..., None], place: str, tmp_path: Path
) -> None:
    publish()
    manifest, barrier = bucket.resolve("a"), threading.Barrier(4)

    def fetch(_: int) -> Path:
        barrier.wait()
        return AdapterRegistry(place, cache_dir=tmp_path / "cache").fetch(manifest).folder

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(fetch, range(4)))
    assert len(folders) == 1
    assert [path.name for path in folders.pop().parent.iterdir()] == [f"1-{manifest_digest(manifest)}"]


def manifest_digest(manifest: object) -> str:
    records = sorted(record.sha256 for record in manifest.files.values())  # type: ignore[attr-defined]
    return hashlib.sha256("".join(records).encode()).hexdigest()[:12]


def test_the_path_of_a_version_is_its_own_also_in_a_registry_made_anew(
    bucket: AdapterRegistry,
    publish: Callable[..., None],
    s3: S3Server,
    make_adapter: AdapterMaker,
    small_base: BaseModelFiles,
) -> None:
    publish(2)
    publish(name="b")
    paths = {bucket.fetch(bucket.resolve(ref)).folder for ref in ("a@1", "a@2", "b@1")}
    assert len(paths) == 3
    s3.start_with(BUCKET)
    publish_adapter(make_adapter(seed=9), registry=bucket, name="a", base=small_base, provenance=Provenance())
    assert bucket.fetch(bucket.resolve("a@1")).folder not in paths


def test_commands_prune_what_they_fetched(
    publish: Callable[..., None], place: str, small_base: BaseModelFiles, tmp_path: Path
) -> None:
    publish(2)
    small = AdapterRegistry(place, cache_dir=tmp_path / "cache", cache_bytes=0)
    held = small.fetch(small.resolve("a@2"))
    verbs.verify(small, "a@1", base=small_base, max_rank=4)
    export_adapter("a@1", tmp_path / "out", registry=small)
    assert [folder for folder in (tmp_path / "cache").glob("*/a/*") if folder.is_dir()] == [held.folder]


def test_a_lost_index_is_an_error_and_not_an_empty_registry(
    bucket: AdapterRegistry, publish: Callable[..., None]
) -> None:
    publish()
    bucket.storage.delete("index.json")
    for call in (bucket.revision, lambda: verbs.promote(bucket, "a@1"), publish):
        with pytest.raises(InputError, match=r"no index\.json"):
            call()


@pytest.mark.parametrize("at", range(2))
def test_a_publisher_that_dies_leaves_nothing_to_see_and_its_number_is_not_used_again(
    bucket: AdapterRegistry, publish: Callable[..., None], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    publish()
    real, calls = ObjectStorage.replace, iter(range(10))

    def die(storage: ObjectStorage, key: str, content: bytes, *, tag: str | None) -> None:
        if next(calls) == 1 + at:
            raise KeyboardInterrupt
        real(storage, key, content, tag=tag)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(ObjectStorage, "replace", die)
        publish()
    assert bucket.list()[0].versions == (1,)
    publish()
    assert bucket.list()[0].versions == (1, 3)
    bucket.verify("a", 3)


def test_an_index_put_back_from_a_backup_gives_out_no_number_that_has_files(
    bucket: AdapterRegistry, publish: Callable[..., None]
) -> None:
    publish()
    backup = bucket.storage.read("index.json").content
    publish(3)
    bucket.storage.write("index.json", backup)
    publish()
    assert bucket.list()[0].versions == (1, 5)


@pytest.mark.parametrize(
    ("uri", "error", "says"),
    [
        ("s3://absent-bucket/x{query}", UnavailableError, "no bucket for the registry"),
        (
            "s3://adapters/x?endpoint_override=127.0.0.1:9&scheme=http",
            UnavailableError,
            "cannot be used .*see that it can be reached",
        ),
    ],
)
def test_a_store_that_cannot_be_used_is_said_so(
    s3: S3Server, place: str, uri: str, error: type[GraftworkError], says: str, make_adapter: AdapterMaker,
    small_base: BaseModelFiles, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("train.registry.object_storage._RETRIES", {"max_retries": 0})
    registry = AdapterRegistry(uri.replace("{query}", s3.query))
    with pytest.raises(error, match=says) as caught:
        publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance())
    assert "secret" not in str(caught.value)


def test_a_manifest_of_the_future_is_refused(bucket: AdapterRegistry, publish: Callable[..., None]) -> None:
    publish()
    key = "adapters/a/1/manifest.json"
    document = json.loads(bucket.storage.read(key).content) | {"api_version": "graftwork.dev/v2"}
    bucket.storage.write(key, json.dumps(document).encode())
    with pytest.raises(InputError, match=r"s3://adapters/team/registry/adapters/a/1/manifest\.json.*upgrade Graftwork"):
        bucket.resolve("a@1")


def test_a_place_is_read_once_and_written_as_it_was() -> None:
    for uri in ("s3://b1/p/q", "gs://b1/p", "s3://b1", "s3://b1/p?region=eu-1"):
        assert str(parse_place(uri)) == uri
    assert parse_place("reg/istry") == Path("reg/istry")
    for uri, says in (
        ("ftp://x/y", "cannot lie at ftp://"),
        ("s3://user:pass@b/p", "credentials belong into the environment"),
        ("s3://bucket/p*", "has a wildcard"),
        ("", "no place of a registry"),
    ):
        with pytest.raises(InputError, match=says):
            parse_place(uri)
