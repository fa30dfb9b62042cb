"""The state of the local instance in one JSON file, <run_dir>/state.json, and the lock around changing it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from deploy.local.processes import ProcessKey
from indexer.errors import ConflictError, GraftworkError, UnavailableError, system_cause, writing
from serve.scale import Scale

STATE_FORMAT = 2
STATE_FILE = "state.json"
LOCK_FILE = "lock"
ANOTHER_HOME = "choose another home folder with --home"


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A process we started ourselves and count on: its role (milvus, gcs, raylet, dashboard) and identity."""

    role: str
    pid: int
    start_ticks: int

    @property
    def key(self) -> ProcessKey:
        """Identity for `processes.is_alive`."""
        return ProcessKey(self.pid, self.start_ticks)


@dataclass(frozen=True, slots=True)
class InstanceState:
    """What is needed to find, use and stop an instance.

    Attributes:
        instance: Eight hexadecimal digits, the same for one user and home for ever (transient ones: with a suffix).
        phase: `starting` from before the first process, `up` once every specialist gave a token, `stopping`.
        started_at: ISO time, UTC.
        home: Home folder.
        config: Settings file that was read, or None.
        settings_digest: Hash of the settings it was started with, but for the numbers of replicas.
        scale: The numbers of replicas that it has.
        temp_dir: Ray's temporary folder; short, for its Unix sockets.
        token_path: File with Ray's authentication token.
        ports: Port by name.
        urls: URL by name.
        versions: Package version by name.
        processes: The servers that an instance cannot live without.
        owner: For transient instances the command that will stop it, else None.
    """

    instance: str
    phase: Literal["starting", "up", "stopping"]
    started_at: str
    home: str
    config: str | None
    settings_digest: str
    temp_dir: str
    token_path: str
    ports: dict[str, int] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    processes: tuple[ServerProcess, ...] = ()
    owner: ServerProcess | None = None
    scale: Scale = field(default_factory=Scale)

    def with_process(self, process: ServerProcess) -> InstanceState:
        """A copy that also counts on this process."""
        return replace(self, processes=(*self.processes, process))


def instance_id(home: Path) -> str:
    """Eight hexadecimal digits from the user and the home folder alone: leftovers are found without a state."""
    return hashlib.sha256(f"{os.getuid()}:{home.absolute()}".encode()).hexdigest()[:8]


def temp_dir_of(instance: str) -> Path:
    """Ray's temporary folder of an instance: in /tmp, because Unix socket paths end at 107 bytes."""
    return Path("/tmp") / f"graftwork-{instance}"


def write_state(path: Path, state: InstanceState) -> None:
    """Replaces the state file atomically; readable by its owner only.

    Raises:
        UnavailableError: It cannot be written; the one before stays.
    """
    document = {**asdict(state), "scale": state.scale.model_dump(mode="json")}
    text = json.dumps({"format": STATE_FORMAT, **document}, indent=2)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with writing("The state of the instance", path, otherwise=ANOTHER_HOME):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "w", encoding="utf-8", opener=_private) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def read_state(path: Path) -> InstanceState | None:
    """The state in a file, or None where there is none.

    Raises:
        GraftworkError: The file is broken or of another format.
        UnavailableError: It may not be read.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != STATE_FORMAT:
            raise ValueError("its format is another version's")
        document["processes"] = tuple(ServerProcess(**entry) for entry in document["processes"])
        document["scale"] = Scale.model_validate(document["scale"])
        document["owner"] = ServerProcess(**document["owner"]) if document["owner"] else None
        return InstanceState(**document)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnavailableError(
            f"The state file {path} cannot be read: {system_cause(error)}; let this user read it, or {ANOTHER_HOME}."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise GraftworkError(f"The state file {path} cannot be read: {error}; run `graftwork down`.") from error


def remove_state(path: Path) -> None:
    """Removes a state file; it may be missing."""
    path.unlink(missing_ok=True)


@contextmanager
def instance_lock(run_dir: Path) -> Iterator[None]:
    """Holds the right to start or stop the instance; freed by the kernel if this process dies.

    Raises:
        ConflictError: Another command holds it.
        UnavailableError: The lock file cannot be made.
    """
    with writing("The lock of the instance", run_dir / LOCK_FILE, otherwise=ANOTHER_HOME):
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"Another graftwork command starts or stops the instance of {run_dir.parent}; wait until it ends."
            ) from error
        yield
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
