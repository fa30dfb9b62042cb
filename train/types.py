"""What goes into a training run and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from train.registry.manifest import AdapterManifest
from train.scores import EVAL_LOSS


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """One training run as its user asks for it; everything else stands in the settings.

    Attributes:
        datasets: What to learn from, as `train.data.sources` takes it.
        name: Name of the adapter to publish.
        workers: Ray Train workers; None: as the settings say.
        time_budget_s: Seconds from the call to the published adapter; when they run out, training stops at a step
            boundary and publishes what it has. None: no limit.
        eval_datasets: What to measure base and adapter on at the end.
        run_name: Name of the run, formed as an adapter's; one that exists is gone on with from its last checkpoint.
            None: a new one.
        make_stable: Let name@stable mean the new version.
        gate: Conditions on the scores without which the adapter is not published, as `train.gate` reads them.
        skip_engine_check: Publish without loading the adapter in the engine, whatever the settings say.
        created_by: Who asks; None: the user name of this process.
        sweep: Name of the sweep that the run is a trial of; None: of none.
    """

    datasets: tuple[str, ...]
    name: str
    workers: int | None = None
    time_budget_s: float | None = None
    eval_datasets: tuple[str, ...] = ()
    run_name: str | None = None
    make_stable: bool = True
    gate: str | None = None
    skip_engine_check: bool = False
    created_by: str | None = None
    sweep: str | None = None


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """What a dataset is made of, once tokenised.

    Attributes:
        rows: Rows.
        tokens: Tokens over all rows, as trained on (behind max_length is not counted).
        supervised_tokens: Those of them that the loss covers.
        longest_row: Tokens of the longest row before truncation.
        truncated_rows: Rows that were longer than max_length.
        cut_tokens: Tokens cut off them.
        length_quantiles: Shares of rows, and the tokens that they have at most before truncation.
    """

    rows: int
    tokens: int
    supervised_tokens: int
    longest_row: int
    truncated_rows: int
    cut_tokens: int
    length_quantiles: tuple[tuple[float, int], ...]

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        quantiles: JsonValue = {f"{share:g}": tokens for share, tokens in self.length_quantiles}
        return {**asdict(self), "length_quantiles": quantiles}


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """How far a run has come.

    Attributes:
        step: Optimiser steps taken.
        total_steps: Steps planned; a time budget may end the run before.
        loss: Mean loss over the steps since the last report.
        tokens_per_s: Tokens per second over all workers since this start of the workers.
        elapsed_s: Seconds since the run was asked for.
        eval_loss: Mean loss on the evaluation dataset, where it was measured after this step.
    """

    step: int
    total_steps: int
    loss: float
    tokens_per_s: float
    elapsed_s: float
    eval_loss: float | None = None


ProgressCallback = Callable[[TrainProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """A finished run.

    Attributes:
        manifest: The adapter version that was published.
        run_name: Name of the Ray Train run.
        run_path: Where its checkpoints lie.
        steps: Optimiser steps taken.
        planned_steps: Steps the settings asked for.
        seconds: Wall time from the call to the published adapter.
        train_seconds: Of these, time spent in steps (since the last start of the workers).
        first_loss: Loss of the first step.
        final_loss: Mean loss over the last tenth of the steps.
        scores: What adapter and base were measured to be, by the names in `train.scores`.
        tokens: Tokens read in all steps, padding left out.
        tokens_per_s: Tokens per second over all workers.
        stopped_early: The time budget or early stopping ended the run before the planned steps.
        best_step: The step after which the adapter was best, which is what was published; None: after the last one.
        statistics: What the dataset is made of.
    """

    manifest: AdapterManifest
    run_name: str
    run_path: str
    steps: int
    planned_steps: int
    seconds: float
    train_seconds: float
    first_loss: float | None
    final_loss: float | None
    scores: dict[str, float]
    tokens: int
    tokens_per_s: float
    stopped_early: bool
    best_step: int | None
    statistics: TokenStatistics

    @property
    def eval_loss(self) -> float | None:
        """Mean loss per supervised token of the evaluation dataset, where one was given."""
        return self.scores.get(EVAL_LOSS)

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values: the facts of the run, and the reference of the adapter instead of its manifest."""
        facts = {name: getattr(self, name) for name in self.__slots__ if name not in {"manifest", "statistics"}}
        return {
            "adapter": self.manifest.ref,
            "rank": self.manifest.rank,
            **facts,
            "eval_loss": self.eval_loss,
            "engine": None if self.manifest.engine is None else self.manifest.engine.model_dump(mode="json"),
            "unverified": self.manifest.unverified,
            "dataset": self.statistics.to_json(),
        }
