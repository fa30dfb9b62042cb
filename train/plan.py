"""What the driver hands to the workers, and what they hand back: plain data that Ray can carry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from train.order import TrainingOrder
from train.reserve import ForwardWork
from train.schedule import Fall, transformers_fall
from train.settings import TrainSettings
from train.tokens import TokenRows

# Folder of a checkpoint that holds the best adapter so far, where a run keeps it. transformers takes a folder right in
# a checkpoint for one more adapter to load (`Trainer._load_from_checkpoint`).
BEST = "best/adapter"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """Everything a worker needs, the same for all.

    Attributes:
        base_model: Name or path by which a worker finds the base model.
        base_name: What the trained adapter calls it.
        base_fingerprint: What a worker must find there.
        models_dir: Where a worker unpacks the embedded base model.
        settings: The training settings, workers of the request put in.
        dtype: Number type of weights and arithmetic, decided.
        order: The rows of every step.
        measuring: What measuring at the end takes, over all workers.
        report_steps: Steps between reports.
        started: When the run was asked for, seconds since the epoch.
        deadline: When the trained adapter is wanted, seconds since the epoch; None: no limit.
    """

    base_model: str
    base_name: str
    base_fingerprint: str
    models_dir: Path
    settings: TrainSettings
    dtype: str
    order: TrainingOrder
    measuring: ForwardWork
    report_steps: int
    started: float
    deadline: float | None

    @property
    def warmup_steps(self) -> int:
        """Steps in which the learning rate rises."""
        return round(self.settings.warmup_ratio * self.order.steps)

    def fall(self) -> Fall:
        """Return how the learning rate falls; raises InputError as `transformers_fall` does."""
        settings = self.settings
        return transformers_fall(
            settings.lr_scheduler,
            planned_steps=self.order.steps,
            warmup_steps=self.warmup_steps,
            learning_rate=settings.learning_rate,
            options=settings.scheduler_options,
        )


@dataclass(frozen=True, slots=True)
class WorkerRows:
    """The tokenised datasets, carried apart from the plan through Ray's object store.

    Attributes:
        train: What is learned.
        evaluation: What base and adapter are measured on; None where nothing was given.
        general: What forgetting is measured on; None where it is not.
    """

    train: TokenRows
    evaluation: TokenRows | None = None
    general: TokenRows | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOutcome:
    """What rank 0 knows at the end; see `TrainResult` for the meaning of the other fields.

    Attributes:
        fault: Why the run ended though it was not done; its adapter is not to be used.
    """

    steps: int
    train_seconds: float
    first_loss: float | None
    final_loss: float | None
    scores: dict[str, float]
    tokens: int
    tokens_per_s: float
    best_step: int | None = None
    fault: str | None = None
