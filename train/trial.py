"""A few steps of a run, trained in a process of their own, so that speed and memory are theirs alone."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from indexer.errors import GraftworkError
from train.plan import WorkerPlan, WorkerRows


@dataclass(frozen=True, slots=True)
class Trial:
    """What a worker was measured to do.

    Attributes:
        trainable_parameters: Of the adapter.
        base_parameters: Of the base model, none of which changes.
        tokens_per_s: Tokens read in a second, the median of the steps but the first.
        step_s: Seconds of such a step.
        startup_s: Seconds from the start of the process to that of the first step.
        memory_mib: Most memory of the process; on a GPU the device's.
    """

    trainable_parameters: int
    base_parameters: int
    tokens_per_s: float
    step_s: float
    startup_s: float
    memory_mib: int


def run_trial(plan: WorkerPlan, rows: WorkerRows, *, stock: bool = False) -> Trial:
    """Train the steps of a plan for one worker, without Ray.

    Args:
        plan: The run.
        rows: Its rows.
        stock: Take TRL's own trainer, with its loss over every position, in place of ours.

    Raises:
        GraftworkError: They cannot be trained here; the message carries the cause.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(plan, rows, theirs, time.time(), stock))
    process.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError as error:
        process.join()
        raise GraftworkError(
            f"The trial of {plan.order.steps} steps was ended from outside (exit code {process.exitcode}), as by lack "
            "of memory; lower per_device_batch_size or max_length, or leave the measuring out."
        ) from error
    finally:
        process.join()
    if isinstance(found, str):
        raise GraftworkError(f"A step cannot be trained here: {found}")
    trial: Trial = found
    return trial


def _serve(plan: WorkerPlan, rows: WorkerRows, to: Connection, begun: float, stock: bool) -> None:
    # Nothing of what libraries print belongs to the result of a command.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        to.send(_train(plan, rows, begun=begun, stock=stock))
    except Exception as error:  # noqa: BLE001  the parent raises it
        last = traceback.extract_tb(error.__traceback__)[-1]
        to.send(f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})")


def _train(plan: WorkerPlan, rows: WorkerRows, *, begun: float, stock: bool) -> Trial:
    import torch
    import torch.distributed
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTTrainer

    from train.worker import build_trainer, trainer_options

    torch.set_num_threads(max(1, int(plan.settings.cpus_per_worker)))
    ends: list[float] = []
    startup: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_step_begin(self, *_: object, **__: object) -> None:
            if not ends:
                startup.append(time.time() - begun)
                ends.append(time.monotonic())

        def on_step_end(self, *_: object, **__: object) -> None:
            ends.append(time.monotonic())

    with tempfile.TemporaryDirectory(prefix="graftwork-trial-") as scratch:
        # As Ray Train gives each worker; one alone has a group of its own.
        torch.distributed.init_process_group(
            "nccl" if plan.settings.use_gpu else "gloo", init_method=f"file://{scratch}/group", rank=0, world_size=1
        )
        if stock:
            trainer = SFTTrainer(**trainer_options(plan, rows, scratch=Path(scratch)))
            trainer.remove_callback(PrinterCallback)
        else:
            trainer = build_trainer(plan, rows, share=lambda: 0.0, scratch=Path(scratch))
        trainer.add_callback(Clock())
        trainer.train()
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    totals = [0, *plan.order.tokens.tolist()]
    read = [after - before for before, after in itertools.pairwise(totals)]
    counted = slice(1, None) if len(seconds) > 1 else slice(None)
    speed = statistics.median(tokens / spent for tokens, spent in zip(read[counted], seconds[counted], strict=True))
    trainable, parameters = trainer.model.get_nb_trainable_parameters()
    return Trial(
        trainable_parameters=trainable,
        base_parameters=parameters - trainable,
        tokens_per_s=speed,
        step_s=statistics.median(seconds[counted]),
        startup_s=startup[0],
        memory_mib=_memory_mib(),
    )


def _memory_mib() -> int:
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_reserved():
        return int(torch.cuda.max_memory_reserved()) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
