"""Starts a milvus-lite server on this machine's loopback address."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.logs import last_lines
from deploy.local.ports import wait_until_listening
from deploy.local.processes import start_ticks
from deploy.local.state import ANOTHER_HOME, ServerProcess
from indexer.errors import ConflictError, UnavailableError, writing

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0


def start_milvus(*, port: int, data_dir: Path, log: Path, environment: Mapping[str, str]) -> ServerProcess:
    """Starts the server and returns once its port answers.

    A client made before that keeps a broken connection in its process, so nothing may connect earlier.

    Raises:
        ConflictError: Another server holds the data folder.
        UnavailableError: It ended or did not answer within a minute, and the last log lines say why; or data folder
            or log cannot be written.
    """
    with writing("The data of milvus-lite", data_dir, otherwise="set deploy.milvus_data to another folder"):
        data_dir.mkdir(parents=True, exist_ok=True)
    with writing("The log of milvus-lite", log, otherwise=ANOTHER_HOME):
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    command = [sys.executable, "-m", "deploy.local.milvus_main", "server"]
    command += ["--data-dir", str(data_dir), "--host", HOST, "--port", str(port)]
    with output:
        begin = output.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=os.sep,
            start_new_session=True,
        )
    try:
        wait_until_listening(
            port,
            host=HOST,
            timeout_s=START_TIMEOUT_S,
            what="The milvus-lite server",
            still_running=lambda: process.poll() is None,
        )
    except UnavailableError as error:
        process.kill()
        process.wait()
        tail = last_lines(log, count=5, begin=begin)
        if any("DataDirLocked" in line for line in tail):
            raise ConflictError(
                f"The Milvus data folder {data_dir} is in use by another graftwork command or server; "
                "wait for it or stop it."
            ) from error
        raise UnavailableError(f"{error} Its last words in {log}: {' | '.join(tail) or 'none'}") from error
    except BaseException:
        process.kill()
        process.wait()
        raise
    return ServerProcess("milvus", process.pid, start_ticks(process.pid) or 0)
