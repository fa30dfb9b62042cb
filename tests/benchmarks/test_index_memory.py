"""Memory of a run over 1,000 and 20,000 small documents: the driver's, and that of all processes together.

Proportional set size (PSS) of every process of the instance, read twice a second: pages that processes share, such as
Ray's object store, count once.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.demo.recipe import CORPUS
from deploy.local import processes
from deploy.local.state import temp_dir_of
from tests.home import Home, make_home

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

FEW, MANY = 1_000, 20_000
FLAT_MIB = 100  # what a driver may grow by: the states of 19,000 more documents are some 1 KiB each, in several copies
EVERY_S = 0.5
WORDS = sorted(set(re.findall(r"[a-z]{3,}", "".join(file.read_text() for file in CORPUS.glob("**/*.md")))))


@dataclass(frozen=True, slots=True)
class Memory:
    """Peaks of a run, in MiB, and how long it took."""

    documents: int
    seconds: float
    driver: float
    together: float


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = make_home(tmp_path, base_model=tmp_path)
    yield made
    made.clear()


def test_memory_does_not_grow_with_documents(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [index(home, write_documents(tmp_path / f"of-{count}", count), count=count) for count in (FEW, MANY)]
    with capsys.disabled():
        print("\n\nPeak PSS of an index run, documents of one chunk, MiB")
        print(f"{'documents':>9}  {'s':>6}  {'driver':>6}  {'all processes':>13}")
        for run in found:
            print(f"{run.documents:9}  {run.seconds:6.0f}  {run.driver:6.0f}  {run.together:13.0f}")
    few, many = found
    assert many.driver < 1024
    assert many.driver - few.driver < FLAT_MIB
    assert many.together < 4096


def write_documents(folder: Path, count: int) -> Path:
    """So many text files that all differ, of a title and two or three sentences."""
    chance = random.Random(count)
    for number in range(count):
        file = folder / f"{number // 500:03}" / f"note-{number:05}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        sentences = [" ".join(chance.choices(WORDS, k=chance.randint(6, 12))) for _ in range(chance.randint(2, 3))]
        file.write_text(f"Note {number}\n\n" + ". ".join(sentences) + ".\n")
    return folder


def index(home: Home, folder: Path, *, count: int) -> Memory:
    """Run `graftwork index` and look at its processes until it ends."""
    began = time.monotonic()
    process = home.start("index", str(folder), "--collection", f"notes_{count}")
    driver = together = 0.0
    while process.poll() is None:
        sizes = instance_sizes(home)
        driver = max(driver, sizes.get(process.pid, 0.0))
        together = max(together, sum(sizes.values()))
        time.sleep(EVERY_S)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert f"{count} seen: {count} new" in stdout
    return Memory(documents=count, seconds=time.monotonic() - began, driver=driver, together=together)


def instance_sizes(home: Home) -> dict[int, float]:
    """PSS in MiB of the command and of all that it started, by pid."""
    state = home.transient
    if state is None:
        return {}
    assert state.owner is not None
    pids = {facts.key.pid for facts in processes.find(instance=state.instance, temp_dir=temp_dir_of(state.instance))}
    sizes = {pid: pss_mib(pid) for pid in (*pids, state.owner.key.pid)}
    return {pid: size for pid, size in sizes.items() if size}


def pss_mib(pid: int) -> float:
    """0 where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
