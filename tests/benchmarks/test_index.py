"""How fast a run of the indexer is: against the embedder alone, against LlamaIndex, and with two actors for one.

PostgreSQL's manual (Debian's postgresql-doc-15, 1,167 HTML files) on a Ray and a milvus-lite of this test's own, which
run before anything is timed. Runs that take minutes are made once; short ones three times, with their median.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from indexer.bench.documents import copy_to, spread
from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.sources.discovery import discover
from tests.home import Home, make_home
from tests.indexer.conftest import free_port, start_milvus, wait_until_listening

MANUAL = Path("/usr/share/doc/postgresql-doc-15/html")
PEER = Path(__file__).parent / "peers" / "llama_index_ingest.py"
PEER_PYTHON = os.environ.get("LLAMA_INDEX_PYTHON", "")
# What the peer's documentation offers; the quickest of them, on FEW documents, is what we are held against on all.
PEER_SETTINGS: tuple[Mapping[str, str], ...] = (
    {"batch": "32", "workers": "1", "dtype": "float32"},
    {"batch": "32", "workers": "1", "dtype": "bfloat16"},
    {"batch": "32", "workers": "2", "dtype": "bfloat16"},
)
SOME = 150  # documents where a run over all would take too long; 1,648 chunks
FEW = 50
SAME_PRIORITY = {"RAY_worker_niceness": "0"}  # Ray's default, 15, would give way to whatever else runs here

pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not MANUAL.is_dir(), reason=f"no {MANUAL}: apt-get install postgresql-doc-15"),
]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = make_home(tmp_path, base_model=tmp_path)
    yield made
    made.clear()


def test_a_run_against_the_embedder_alone(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    measured = bench(home, str(MANUAL))
    ratios = measured["ratios"]
    with capsys.disabled():
        print(f"\n\nthe whole manual, {measured['full']['chunks']} chunks: {ratios}")
        print(json.dumps(measured))
    for run in measured["second"]:
        assert (run["written"], run["embedded"], run["models"]) == (0, 0, 0)
    for run in measured["changed"]:
        assert run["documents"] == 1
        assert 0 < run["embedded"] <= run["written"], "its other chunks keep the vectors that they have"
    assert ratios["second_run_s"] < 10
    assert ratios["one_changed_s"] < 15
    assert ratios["end_to_end"] >= 0.85
    assert ratios["first_to_last_batch"] >= 0.93


def test_two_embedding_actors_against_one(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    rates = {actors: embedding_rate(home, actors=actors) for actors in (1, 2)}
    cores = len(os.sched_getaffinity(0))
    with capsys.disabled():
        print(f"\n\n{SOME} documents, first to last batch, a thread for each actor, {cores} cores")
        for actors, rate in rates.items():
            print(f"{actors} actors  {rate:6.1f} chunks/s  x{rate / rates[1]:.2f}")
    assert rates[2] / rates[1] >= 1.8


@pytest.mark.skipif(
    not PEER_PYTHON, reason="LLAMA_INDEX_PYTHON names no Python; see peers/requirements-llama-index.txt"
)
def test_a_run_against_llama_index(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = discover([MANUAL]).files
    few, whole = tmp_path / "few", tmp_path / "whole"
    copy_to(few, spread(found, FEW))
    copy_to(whole, found)
    tried = [run_peer(few, tmp_path / "peer", given) for given in PEER_SETTINGS]
    quickest = min(range(len(tried)), key=lambda number: tried[number]["read_s"] + tried[number]["pipeline_s"])
    peer = run_peer(whole, tmp_path / "peer", PEER_SETTINGS[quickest])
    ours = bench(home, str(whole), "--repeats", "0")["full"]
    with capsys.disabled():
        print(f"\n\n{len(os.sched_getaffinity(0))} cores, one run each")
        print(f"{'':42}  {'documents':>9}  {'s':>6}  {'chunks':>6}  {'chunks/s':>8}")
        for name, run in [*((named(run), run) for run in (*tried, peer)), ("Graftwork", ours)]:
            print(f"{name:42}  {run['documents']:9}  {run['seconds']:6.1f}  {run['chunks']:6}  {rate_of(run):8.1f}")
        print(f"chunks per second, ours over LlamaIndex: {rate_of(ours) / rate_of(peer):.2f}")
        print(f"seconds for the same files, LlamaIndex over ours: {peer['seconds'] / ours['seconds']:.2f}")
    assert peer["documents"] == ours["documents"]
    assert rate_of(ours) / rate_of(peer) >= 1.2


def bench(home: Home, *arguments: str, variables: Mapping[str, str] | None = None) -> dict[str, dict]:
    """The figures of `graftwork bench index`."""
    process = home.start("bench", "index", *arguments, "--json", variables={**SAME_PRIORITY, **(variables or {})})
    stdout, stderr = process.communicate(timeout=3000)
    assert process.returncode == 0, stderr
    return json.loads(stdout.splitlines()[-1])


def embedding_rate(home: Home, *, actors: int) -> float:
    """Chunks per second from first to last batch; small batches, so that all actors have work to the end."""
    settings = {"EMBED_ACTORS": str(actors), "EMBED_THREADS": "1", "EMBED_BATCH_SIZE": "64"}
    variables = {f"GRAFTWORK_INDEXER__{name}": value for name, value in settings.items()}
    span = bench(home, str(MANUAL), "--documents", str(SOME), "--repeats", "0", variables=variables)["full"]["span"]
    return span["chunks"] / span["first_to_last_s"]


def run_peer(folder: Path, work: Path, given: Mapping[str, str]) -> dict[str, float]:
    """The figures of LlamaIndex on a milvus-lite of its own."""
    work.mkdir()
    port = free_port()
    milvus = start_milvus(work / "milvus", port)
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_until_listening(uri, timeout_s=60)
        command = [PEER_PYTHON, str(PEER), "--folder", str(folder), "--milvus", uri]
        command += ["--model", str(resolve_embedder(EMBEDDED_NAME).path)]
        command += [word for name, value in given.items() for word in (f"--{name}", value)]
        # Two processes share the cores: each gets one thread, as its workers inherit.
        threads = {"OMP_NUM_THREADS": "1"} if given["workers"] != "1" else {}
        environment = {**os.environ, **threads, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        milvus.terminate()
        milvus.wait(timeout=30)
        shutil.rmtree(work)


def named(peer: Mapping[str, float]) -> str:
    return f"LlamaIndex, batch {peer['batch']}, workers {peer['workers']}, {peer['dtype']}"


def rate_of(run: Mapping[str, float]) -> float:
    return run["chunks"] / run["seconds"]
