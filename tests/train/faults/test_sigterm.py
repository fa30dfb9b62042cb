"""What a process of its own does with SIGTERM; Ray's workers run the same function."""

from __future__ import annotations

import signal
import subprocess
import sys

WORKER = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
from train.faults.sigterm import heed_sigterm, told_to_end
heed_sigterm()
print(told_to_end(), flush=True)
while not told_to_end():
    time.sleep(0.01)
print(told_to_end(), flush=True)
time.sleep(60)
"""


def test_the_first_sigterm_is_noted_and_the_second_one_ends_the_process_as_before() -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "False\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "True\n"
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 5
