"""`python -m indexer` as a job of Ray: submitted, followed and read as a scheduler would."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.processes import MARK, find, stop
from deploy.local.ray_node import RayNodeOptions, start_ray
from tests.indexer.conftest import free_port

ROOT = Path(__file__).parents[2]
STORE_BYTES = 100_000_000
LIMIT_S = 300.0

pytestmark = pytest.mark.slow


@pytest.fixture
def dashboard() -> Iterator[str]:
    """A Ray of its own with a dashboard, which takes jobs; ended with all that it started."""
    instance = secrets.token_hex(8)
    folder = Path(tempfile.mkdtemp(prefix="gw-job-", dir="/tmp"))  # the names of sockets in it have to be short
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**kept, MARK: instance, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    options = RayNodeOptions(
        port=free_port(),
        client_port=free_port(),
        dashboard_port=free_port(),
        agent_port=free_port(),
        temp_dir=folder,
        cpus=2,
        gpus=0,
        object_store_bytes=STORE_BYTES,
    )
    try:
        start_ray(options, environment=environment)
        yield f"http://127.0.0.1:{options.dashboard_port}"
    finally:
        left = stop(lambda: find(instance=instance, temp_dir=folder), patience=lambda _: 10.0)
        shutil.rmtree(folder, ignore_errors=True)
    assert left == ()


def test_a_submitted_job_succeeds_and_its_log_ends_with_the_report(
    dashboard: str, tmp_path: Path, milvus_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.job_submission import JobStatus, JobSubmissionClient

    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("# Good\n\nWords.")
    (docs / "better.txt").write_text("Other words.")
    client = JobSubmissionClient(dashboard)
    job = client.submit_job(
        entrypoint=shlex.join([sys.executable, "-m", "indexer", str(docs), "--collection", "submitted"]),
        runtime_env={
            "env_vars": {
                "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "GRAFTWORK_INDEXER__MILVUS_URI": milvus_uri
            }
        },
    )  # fmt: skip
    deadline = time.monotonic() + LIMIT_S
    while not (status := client.get_job_status(job)).is_terminal():
        assert time.monotonic() < deadline, client.get_job_logs(job)
        time.sleep(0.5)
    log = client.get_job_logs(job)
    assert status == JobStatus.SUCCEEDED, log
    *progress, last = log.splitlines()
    report = json.loads(last)
    assert report["documents"] == {"seen": 2, "new": 2, "changed": 0, "unchanged": 0, "deleted": 0, "failed": 0}
    assert (report["collection"], report["generation"], report["dead_letters"]) == ("submitted", 1, 0)
    assert report["chunks"]["written"] == report["chunks"]["embedded"] == 2
    assert any("] index: " in line for line in progress)
    assert any("] compare: " in line for line in progress)
    assert "Traceback" not in log
