"""One side of the check, in a process of its own.

    python -m train.engine.program engine FOLDER

Reads FOLDER/probe.json; writes FOLDER/<side>.json, what it says, or FOLDER/<side>-failed.json, why it says nothing.
What libraries print goes where the caller sends it. It ends with its parent, which holds its standard input open.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from train.engine.probe import Failed, Probe, Reading, Side, read_document, write_document

PROBE = "probe.json"


def reading_file(folder: Path, side: Side) -> Path:
    """Where a side writes what it says."""
    return folder / f"{side}.json"


def failure_file(folder: Path, side: Side) -> Path:
    """Where a side writes why it says nothing."""
    return folder / f"{side}-failed.json"


def main(arguments: Sequence[str]) -> int:
    """Run one side; return the exit code."""
    side: Side = "engine" if arguments[0] == "engine" else "peft"
    folder = Path(arguments[1])
    if os.getpgrp() != os.getpid():
        os.setpgrp()  # what this process ends with its parent is its own group
    threading.Thread(target=_end_with_parent, daemon=True).start()
    doing = ["read what is asked"]
    try:
        reading = _read(side, read_document(folder / PROBE, Probe), begin=doing.append)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        write_document(failure_file(folder, side), Failed(side, doing[-1], reason))
        raise
    write_document(reading_file(folder, side), reading)
    return 0


def _read(side: Side, probe: Probe, *, begin: Callable[[str], None]) -> Reading:
    if side == "peft":
        from train.engine.peft_side import read_peft

        return read_peft(probe, begin=begin)
    from train.engine.vllm_side import read_vllm

    return read_vllm(probe, begin=begin)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not buffered: a thread in a buffer's lock holds up the interpreter's end
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
