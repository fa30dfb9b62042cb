"""milvus-lite and a Ray node of our own, started and stopped for real; no app."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.local import processes
from deploy.local.milvus_server import start_milvus
from deploy.local.ports import is_free, pick_free
from deploy.local.ray_environment import authentication_environment, ensure_token, ray_environment
from deploy.local.ray_node import RayNodeOptions, principal_processes, start_ray
from deploy.local.serve_client import ServeClient
from deploy.local.state import instance_id, temp_dir_of
from deploy.local.teardown import stop_instance
from indexer.errors import ConflictError, UnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.long]

DRIVER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


@dataclass(frozen=True)
class Place:
    """Where one test's instance lives."""

    home: Path
    instance: str
    temp_dir: Path
    token: Path
    environment: dict[str, str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("HOME", str(tmp_path))
    home = tmp_path / "home"
    instance = instance_id(home)
    temp_dir, token = temp_dir_of(instance), ensure_token(home / "run")
    environment = ray_environment(instance=instance, token_path=token, temp_dir=temp_dir)
    yield Place(home, instance, temp_dir, token, environment)
    stop_instance(instance=instance, temp_dir=temp_dir, grace_s=1.0)


@pytest.mark.parametrize("users_token", [None, "0" * 64], ids=["no user token", "a user token"])
def test_both_start_and_leave_nothing(place: Place, tmp_path: Path, users_token: str | None) -> None:
    user_file = tmp_path / ".ray" / "auth_token"
    if users_token is not None:
        user_file.parent.mkdir()
        user_file.write_text(users_token)
    milvus, *ray_ports = pick_free(5)
    start_milvus(
        port=milvus, data_dir=place.home / "milvus", log=place.home / "milvus.log", environment=place.environment
    )
    options = RayNodeOptions(*ray_ports, place.temp_dir, cpus=2, gpus=0, object_store_bytes=100 * 2**20)
    start_ray(options, environment=place.environment)
    found = processes.find(instance=place.instance, temp_dir=place.temp_dir)
    assert {process.role for process in principal_processes(found)} == {"gcs", "raylet", "dashboard"}

    dashboard = f"http://127.0.0.1:{options.dashboard_port}"
    ServeClient(dashboard, token_path=place.token).wait_until_ready(timeout_s=60)
    assert httpx.get(f"{dashboard}/api/ray/version", trust_env=False).status_code == 401
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER, f"127.0.0.1:{options.port}"],
        env={**os.environ, **authentication_environment(place.token)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert driver.stdout.strip() == "42", driver.stderr

    assert stop_instance(instance=place.instance, temp_dir=place.temp_dir, grace_s=15.0) > 5
    assert processes.find(instance=place.instance, temp_dir=place.temp_dir) == ()
    assert not place.temp_dir.exists()
    assert all(is_free(port) for port in (milvus, *ray_ports))
    if users_token is None:
        assert not user_file.parent.exists()
    else:
        assert user_file.read_text() == users_token
        assert os.listdir(user_file.parent) == ["auth_token"]


def test_a_milvus_folder_in_use_is_a_conflict_with_a_reason(place: Place) -> None:
    data, log = place.home / "milvus", place.home / "milvus.log"
    first, second = pick_free(2)
    start_milvus(port=first, data_dir=data, log=log, environment=place.environment)
    with pytest.raises(ConflictError, match=f"The Milvus data folder {data} is in use"):
        start_milvus(port=second, data_dir=data, log=log, environment=place.environment)


def test_milvus_keeps_what_was_written_over_a_stop(place: Place) -> None:
    from pymilvus import MilvusClient

    data, log = place.home / "milvus", place.home / "milvus.log"
    for rows in (0, 3):
        [port] = pick_free(1)
        server = start_milvus(port=port, data_dir=data, log=log, environment=place.environment)
        client = MilvusClient(f"http://127.0.0.1:{port}")
        if not client.has_collection("kept"):
            client.create_collection("kept", dimension=4)
        client.load_collection("kept")
        assert len(client.query("kept", filter="id >= 0", output_fields=["id"])) == rows
        client.upsert("kept", [{"id": number, "vector": [0.1] * 4} for number in range(3)])
        client.close()
        stop_instance(instance=place.instance, temp_dir=place.temp_dir, grace_s=20.0)
        assert not processes.is_alive(server.key)
    assert "Shutting down" in log.read_text()


def test_a_ray_that_cannot_start_says_why(place: Place) -> None:
    ports = pick_free(4)
    options = RayNodeOptions(*ports, place.temp_dir, cpus=2, gpus=0, object_store_bytes=1)
    with pytest.raises(UnavailableError, match=r"`ray start` failed: .*object store"):
        start_ray(options, environment=place.environment)
