"""What the check's Ray task does on its node: PEFT and then the engine are asked, each in a process of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import GraftworkError
from train.base_model import resolve_base
from train.engine.probe import Device, Failed, Probe, ProbeRows, Reading, Side, read_document, write_document
from train.engine.program import PROBE, failure_file, reading_file
from train.engine.watch import Ended, run_watched

# No reports of usage; and the engine in the program's own process, so that its errors are the program's.
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# As serving has it (serve/app.py): with LoRA vLLM 0.29 compiles nothing on CPU but the sampler.
_ON_CPU = {"TORCH_COMPILE_DISABLE": "1"}
_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOrder:
    """Everything that the task needs.

    Attributes:
        base_model: Name or path by which the node finds the base model.
        base_fingerprint: What it must find there.
        models_dir: Where it unpacks the embedded one.
        files: The adapter's files, by name.
        rank: Its rank.
        dtype: Number type of weights and arithmetic.
        device: Where base and adapter run.
        threads: Threads of the arithmetic on a CPU.
        rows: What is asked.
        memory_bytes: Resident memory that a side may have.
        timeout_s: Seconds that a side may take.
    """

    base_model: str
    base_fingerprint: str
    models_dir: Path
    files: Mapping[str, bytes]
    rank: int
    dtype: str
    device: Device
    threads: int
    rows: ProbeRows
    memory_bytes: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Readings:
    """What PEFT said, and what the engine said."""

    peft: Reading
    engine: Reading


def ask_both(order: CheckOrder) -> Readings | Failed:
    """Ask PEFT and then the engine; of the first that says nothing, why."""
    try:
        base = resolve_base(order.base_model, models_dir=order.models_dir)
    except GraftworkError as error:
        return Failed("peft", "find the base model", str(error), "give all nodes the same files")
    if base.fingerprint != order.base_fingerprint:
        reason = f"the node has {base.fingerprint}, the driver {order.base_fingerprint}"
        return Failed("peft", "find the base model", reason, "give all nodes the same files")
    with tempfile.TemporaryDirectory(prefix="graftwork-engine-") as scratch:
        folder = Path(scratch)
        adapter = folder / "adapter"
        adapter.mkdir()
        for name, content in order.files.items():
            (adapter / name).write_bytes(content)
        probe = Probe(
            base=base.path,
            adapter=adapter,
            rank=order.rank,
            dtype=order.dtype,
            device=order.device,
            threads=order.threads,
            rows=order.rows,
        )
        write_document(folder / PROBE, probe)
        peft = _ask("peft", folder, order=order)
        if isinstance(peft, Failed):
            return peft
        engine = _ask("engine", folder, order=order)
        return engine if isinstance(engine, Failed) else Readings(peft, engine)


def _ask(side: Side, folder: Path, *, order: CheckOrder) -> Reading | Failed:
    log = folder / f"{side}.log"
    ended = run_watched(
        [sys.executable, "-m", "train.engine.program", side, str(folder)],
        environment=_environment(order),
        log=log,
        memory_bytes=order.memory_bytes,
        timeout_s=order.timeout_s,
    )
    if ended.over is None and ended.exit_code == 0:
        return read_document(reading_file(folder, side), Reading)
    failure = failure_file(folder, side)
    if ended.over is None and failure.is_file():
        return read_document(failure, Failed)
    return _cut_short(side, ended, order=order, last_words=_last_line(log))


def _environment(order: CheckOrder) -> dict[str, str]:
    threads = str(order.threads)
    return {
        **os.environ,
        **_ENVIRONMENT,
        **(_ON_CPU if order.device == "cpu" else {}),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        # A Ray worker learns from its driver where packages are, and not by this variable.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
    }


def _cut_short(side: Side, ended: Ended, *, order: CheckOrder, last_words: str) -> Failed:
    """Why a side ended before it could say why itself."""
    if ended.over == "memory":
        reason = f"it had {ended.peak_bytes / _GIB:.1f} GiB of memory where {order.memory_bytes / _GIB:.1f} are allowed"
        return Failed(side, "stay within its memory", reason, "raise train.engine_check_memory_gib")
    if ended.over == "time":
        reason = f"it was not done after {order.timeout_s:g} s"
        return Failed(side, "be done in time", reason, "raise train.engine_check_timeout_s")
    reason = f"its process ended with code {ended.exit_code}, its last words: {last_words or 'none'}"
    advice = "a kill by the system means that the node lacks memory" if ended.exit_code < 0 else ""
    return Failed(side, "come to an end", reason, advice)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
