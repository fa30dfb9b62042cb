from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.ray_environment import ensure_token, python_path, ray_environment
from indexer.errors import UnavailableError
from tests.full_disk import full_disk


def test_the_token_is_made_once_and_private(tmp_path: Path) -> None:
    path = ensure_token(tmp_path / "run")
    token = path.read_text()
    assert len(token) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert ensure_token(tmp_path / "run").read_text() == token


def test_a_token_for_which_there_is_no_room_leaves_no_empty_one(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(UnavailableError, match="Ray's token cannot be written at"):
        ensure_token(tmp_path)
    assert len(ensure_token(tmp_path).read_text()) == 64


def test_what_points_elsewhere_is_left_out(tmp_path: Path) -> None:
    given = {
        "RAY_ADDRESS": "x",
        "RAY_AUTH_TOKEN": "y",
        "RAY_AUTH_MODE": "disabled",
        "RAY_memory_monitor": "1",
        "PATH": "/bin",
    }
    found = ray_environment(instance="abc", token_path=tmp_path / "t", temp_dir=tmp_path, base=given)
    assert "RAY_ADDRESS" not in found
    assert "RAY_AUTH_TOKEN" not in found
    assert (found["RAY_AUTH_MODE"], found["RAY_AUTH_TOKEN_PATH"]) == ("token", str(tmp_path / "t"))
    assert (found["RAY_memory_monitor"], found["PATH"], found["GRAFTWORK_INSTANCE"]) == ("1", "/bin", "abc")
    assert found["RAY_USAGE_STATS_ENABLED"] == "0"


def test_our_packages_can_be_imported_from_any_folder(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": python_path("")}
    code = "import serve.settings, sys; print(serve.settings.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("serve/settings.py")
    root = python_path("")
    assert python_path(f"/a{os.pathsep}{root}") == f"{root}{os.pathsep}/a"


def test_rays_caches_follow_a_new_token(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from deploy.local.ray_environment import authentication_environment, ensure_token, use_in_this_process
import ray
from ray._raylet import AuthenticationMode, AuthenticationTokenLoader, get_authentication_mode
for name in ("one", "two"):
    token = ensure_token(Path(sys.argv[1]) / name)
    use_in_this_process(authentication_environment(token))
    headers = AuthenticationTokenLoader.instance().get_token_for_http_header()
    assert token.read_text() in str(headers), headers
    assert get_authentication_mode() == AuthenticationMode.TOKEN
print("followed")
"""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path), "PYTHONPATH": python_path("")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "followed", done.stderr
    assert not (tmp_path / ".ray").exists()
