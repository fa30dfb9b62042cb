"""Why an engine did not start. vLLM's own processes say it in their log alone; what Ray raises is that they failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.errors import UnavailableError

# "(Worker pid=25131) ERROR 11-29 17:45:17 [multiproc_executor.py:944] ValueError: ...": vLLM's log of a traceback. The
# first of its exceptions is the cause; those after it say that something has failed.
_EXCEPTION = re.compile(r"\bERROR \S+ \S+ \[[^\]]*\] ((?:\w+\.)*\w*(?:Error|Exception): .+)")
_RAISED = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception)): (.+)", re.MULTILINE)
_PROCESS = re.compile(r"\(pid=(\d+)")
_LONGEST = 400


@contextmanager
def told_engine_failures(model: str) -> Iterator[None]:
    """Turn Ray's word that an engine's actor died into the reason.

    Args:
        model: Whose engine it is.

    Raises:
        UnavailableError: An engine did not start.
    """
    from ray.exceptions import ActorDiedError

    try:
        yield
    except ActorDiedError as error:
        raise UnavailableError(
            f"The engine of {model} does not start or has died: {_reason(error)}; what came is kept. See the model, "
            "the memory, and --engine."
        ) from error


def first_cause(log: str) -> str | None:
    """Return the exception that a log of vLLM's processes tells first, if it tells one."""
    found = _EXCEPTION.search(log)
    return None if found is None else _line(found[1])


def raised(text: str) -> str | None:
    """Return the last exception of a traceback's text that is not Ray's own."""
    others = [f"{kind}: {said}" for kind, said in _RAISED.findall(text) if not kind.startswith("ray.")]
    return _line(others[-1]) if others else None


def _reason(error: Exception) -> str:
    text = str(error)
    process = _PROCESS.search(text)
    logged = first_cause(_log_of(process[1])) if process is not None else None
    return logged or raised(text) or _line(text.splitlines()[0] if text else type(error).__name__)


def _log_of(process: str) -> str:
    """What a worker of this machine has printed; nothing where it ran on another."""
    import ray

    sockets = [node["ObjectStoreSocketName"] for node in ray.nodes()]
    folders = [Path(socket).parents[1] / "logs" for socket in sockets if socket]
    files = [file for folder in folders for file in folder.glob(f"worker-*-{process}.out")]
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def _line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST].rstrip(".")
