"""What the driver hands to the workers, and what they hand back: plain data that Ray can carry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from train.order import TrainingOrder
from train.settings import TrainSettings
from train.tokens import TokenRows


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
        eval_tokens: Tokens of the evaluation rows; 0 without.
        report_steps: Steps between reports.
        started: When the run was asked for, seconds since the epoch.
        deadline: When the published adapter is wanted, seconds since the epoch; None: no limit.
    """

    base_model: str
    base_name: str
    base_fingerprint: str
    models_dir: Path
    settings: TrainSettings
    dtype: str
    order: TrainingOrder
    eval_tokens: int
    report_steps: int
    started: float
    deadline: float | None


@dataclass(frozen=True, slots=True)
class WorkerRows:
    """The tokenised datasets, carried apart from the plan through Ray's object store."""

    train: TokenRows
    evaluation: TokenRows | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOutcome:
    """What rank 0 knows at the end; see `TrainResult` for the meaning of the fields."""

    steps: int
    train_seconds: float
    first_loss: float | None
    final_loss: float | None
    eval_loss: float | None
    tokens: int
    tokens_per_s: float
