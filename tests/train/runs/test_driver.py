from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import psutil

from train.runs.driver import driver_of, is_gone, this_driver


def test_a_process_is_gone_when_it_was_killed_also_before_its_parent_takes_note() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        driver = driver_of(child.pid)
        assert is_gone(driver) is False
    finally:
        child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert is_gone(driver) is True
    child.wait()
    assert is_gone(driver) is True


def test_a_pid_that_another_process_has_now_is_not_the_driver() -> None:
    driver = this_driver()
    assert driver.pid == os.getpid()
    assert is_gone(driver) is False
    assert is_gone(dataclasses.replace(driver, started_s=driver.started_s - 60)) is True


def test_a_process_of_another_machine_cannot_be_told() -> None:
    assert is_gone(dataclasses.replace(this_driver(), host="elsewhere")) is None
