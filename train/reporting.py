"""What every rank decides after a step, all of them alike: to report, to save, to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from train.best import Best
from train.faults.checkpoints import report_checkpoint, settle
from train.faults.preemption import Preemption
from train.plan import WorkerPlan
from train.progress import elapsed_since
from train.reserve import ForwardCost
from train.schedule import used_time_share
from train.starts import Start
from train.types import TrainProgress
from train.watchdog import Watchdog

if TYPE_CHECKING:
    from peft import PeftModel

# Saving, uploading, stopping the workers and publishing took 4 to 6 s on two cores with the 135M model.
_FINISH_SECONDS = 8.0


@dataclass
class Pace:
    """How fast this start of the workers is, and what share of the time budget is used.

    Attributes:
        plan: The run.
        began: Monotonic time of the first step's beginning; None before it.
        first_step: Steps that a checkpoint had brought.
        forward: Times a forward pass, all ranks at once; None: nothing is to be measured, or there is no time budget.
        share: Share of the time budget used up, agreed on by all ranks.
        fault: Why the run ends though it is not done.
    """

    plan: WorkerPlan
    began: float | None = None
    first_step: int = 0
    forward: Callable[[], ForwardCost] | None = None
    share: float = 0.0
    fault: str | None = None
    _cost: ForwardCost | None = field(default=None, repr=False)
    _last_end: float = field(default=0.0, repr=False)
    _slowest: float = field(default=0.0, repr=False)

    def begin(self, step: int) -> None:
        """Note that the first step begins, once the model stands as it is trained."""
        self._cost = None if self.forward is None else self.forward()
        self.began, self.first_step = time.monotonic(), step
        self._last_end = self.began

    def end_step(self) -> float:
        """Note that a step ended; the share of the time budget that is used by then, as this rank sees it."""
        now = time.monotonic()
        self._slowest = max(0.8 * self._slowest, now - self._last_end)
        self._last_end = now
        measuring = 0.0
        if self._cost is not None:
            measuring = self._cost.seconds(self.plan.measuring, workers=self.plan.settings.workers)
        return used_time_share(
            now=time.time(),
            started=self.plan.started,
            deadline=self.plan.deadline,
            step_seconds=self._slowest,
            reserve_seconds=_FINISH_SECONDS + measuring,
        )

    @property
    def seconds(self) -> float:
        """Seconds spent in steps since this start of the workers."""
        return 0.0 if self.began is None else self._last_end - self.began

    def tokens_per_s(self, step: int) -> float:
        """Tokens per second over all workers since this start of the workers."""
        before = self.plan.order.tokens[self.first_step - 1] if self.first_step else 0
        read = float(self.plan.order.tokens[step - 1] - before) if step > self.first_step else 0.0
        return read / self.seconds if self.seconds > 0 else 0.0


def _highest(*values: float) -> list[float]:
    """The highest of each value over all ranks; every rank gets the same."""
    if not torch.distributed.is_initialized():
        return [*values]
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    shared = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    return [float(value) for value in shared.tolist()]


@dataclass(frozen=True)
class Evaluation:
    """The loss on the evaluation rows at every checkpoint, and the best adapter by it.

    Attributes:
        loss: Measures it; all ranks call it together.
        best: The best so far.
    """

    loss: Callable[[], float]
    best: Best


class ReportCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Reports checkpoints to Ray Train and progress to the driver, and decides when the run ends.

    It ends before its last step where its time is used up, where it learns nothing more, or where its loss is out of
    hand; then no checkpoint is saved any more.

    Every rank attaches its own folder, because each holds its own random state; Ray merges them into one checkpoint.
    """

    def __init__(
        self,
        pace: Pace,
        *,
        send: Callable[[TrainProgress], None],
        run: Path,
        preemption: Preemption,
        evaluation: Evaluation | None = None,
        start: Start | None = None,
    ) -> None:
        """Take what the run goes by.

        Args:
            pace: What the learning rate follows.
            send: Where progress goes.
            run: The run's folder.
            preemption: Says when a checkpoint is due out of turn.
            evaluation: What is measured at checkpoints that are not.
            start: What the adapter began with, to stand in every checkpoint.
        """
        self._pace = pace
        self._send = send
        self._run = run
        self._preemption = preemption
        self._evaluation = evaluation
        self._start = start
        self._watchdog = Watchdog(spike=pace.plan.settings.loss_spike)
        self._loss = float("nan")
        self._eval_loss: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Start the clock."""
        del args, control
        self._pace.begin(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, *, model: PeftModel, **_: object
    ) -> None:
        """Decide, equally on all ranks, whether to stop, to log and to save."""
        del args
        plan, step = self._pace.plan, state.global_step
        self._pace.share, *votes = _highest(self._pace.end_step(), *self._preemption.votes())
        self._preemption.decide(*votes)
        last = step >= plan.order.steps or self._pace.share >= 1.0
        in_turn = last or step % plan.settings.save_steps == 0
        control.should_save = in_turn or self._preemption.due
        self._eval_loss = None
        if in_turn and self._evaluation is not None:
            self._eval_loss, best = self._evaluation.loss(), self._evaluation.best
            best.offer(model, loss=self._eval_loss, step=step)
            last = last or best.behind >= (plan.settings.early_stopping or math.inf)
        control.should_training_stop = last
        control.should_log = control.should_save or step == 1 or step % plan.report_steps == 0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Send progress from rank 0, and end the run where the loss is out of hand."""
        del args
        if logs is None or "loss" not in logs:
            return
        self._loss = logs["loss"]
        self._pace.fault = self._watchdog.fault(loss=self._loss, gradient=logs.get("grad_norm"))
        if self._pace.fault is not None:
            control.should_training_stop, control.should_save = True, False
        if state.is_world_process_zero:
            plan, step = self._pace.plan, state.global_step
            self._send(
                TrainProgress(
                    step=step,
                    total_steps=plan.order.steps,
                    loss=self._loss,
                    tokens_per_s=self._pace.tokens_per_s(step),
                    elapsed_s=elapsed_since(plan.started),
                    eval_loss=self._eval_loss,
                )
            )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Report a checkpoint; one that is due out of turn is stored before the next step."""
        del control
        folder = Path(str(get_last_checkpoint(str(args.output_dir))))
        if self._evaluation is not None and state.is_world_process_zero:
            self._evaluation.best.save(folder)
        if self._start is not None and state.is_world_process_zero:
            self._start.save(folder)
        report_checkpoint(
            folder,
            run=self._run,
            metrics={"step": state.global_step, "loss": self._loss},
            wait=self._preemption.due,
        )
        if self._preemption.ending:
            settle()
            self._preemption.after_checkpoint()
