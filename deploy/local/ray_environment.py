"""The environment of Ray's processes and drivers: our own token, no usage statistics, our packages importable.

Ray 2.60 turns token authentication on as soon as ~/.ray/auth_token exists, and writes that file itself. Every process
we start is therefore told the mode and the token file, and none reads or writes ~/.ray.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.processes import MARK
from deploy.local.state import ANOTHER_HOME
from indexer.errors import writing

TOKEN_FILE = "ray_auth_token"
# Of the caller's environment, what would point our Ray at another cluster or another token.
_FOREIGN = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_TMPDIR", "RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS")
# Set where the user has not, for a driver and the Ray that it starts for itself; `up` starts its servers without them.
# They hide messages about Ray's own workings that tell a user nothing they could act on.
_QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "PYTHON worker processes have been started on node",
}


def ensure_token(run_dir: Path) -> Path:
    """The home's token file; made at the first call, readable by its owner only.

    Raises:
        UnavailableError: It cannot be made.
    """
    path = run_dir / TOKEN_FILE
    with writing("Ray's token", path, otherwise=ANOTHER_HOME):
        run_dir.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        except OSError:
            path.unlink(missing_ok=True)
            raise
    return path


def authentication_environment(token_path: Path) -> dict[str, str]:
    """What a driver or `ray`/`serve` command needs to talk to the instance."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path)}


def ray_environment(
    *, instance: str, token_path: Path, temp_dir: Path, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The whole environment of a server process of the instance.

    Args:
        instance: Marks the process, see `processes`.
        token_path: File with the token.
        temp_dir: The instance's temporary folder.
        base: The caller's environment; this process's by default.
    """
    base = os.environ if base is None else base
    kept = {name: value for name, value in base.items() if name not in _FOREIGN}
    return {
        **kept,
        **authentication_environment(token_path),
        MARK: instance,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_USAGE_STATS_CONFIG_PATH": str(temp_dir / "usage.json"),
        "PYTHONPATH": python_path(kept.get("PYTHONPATH", "")),
    }


def python_path(given: str) -> str:
    """PYTHONPATH with the folder of our packages first, so that workers import them from any working folder."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([root, *(entry for entry in given.split(os.pathsep) if entry and entry != root)])


def use_in_this_process(environment: Mapping[str, str]) -> None:
    """Sets the variables for a driver in this process; Ray caches them at import, so its caches are refreshed."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.update(environment)
    for name in _FOREIGN:
        os.environ.pop(name, None)
    if "ray" in sys.modules:
        from ray._raylet import AuthenticationTokenLoader, Config

        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()
