"""What the asking cost: requests and tokens of each stage, of this run and of what the journal held. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from train.examples.types import STAGES, Stage


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as the endpoint or the engine counted them; None where it did not."""

    prompt_tokens: int | None
    completion_tokens: int | None


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage cost.

    Attributes:
        requests: Answers that came in this run.
        prompt_tokens: Tokens that they read.
        completion_tokens: Tokens that they wrote.
        uncounted: Answers among them whose tokens the endpoint did not tell.
        failed: Requests that gave no answer after their retries.
        remembered: Answers that the journal held.
        remembered_prompt_tokens: Tokens that those had read.
        remembered_completion_tokens: Tokens that those had written.
        engine_seconds: Seconds that engines of our own were there for it in this run, of all engines together, their
            start included; 0 with an endpoint.
        gpu_seconds: The same of GPUs; 0 on CPU.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    failed: int = 0
    remembered: int = 0
    remembered_prompt_tokens: int = 0
    remembered_completion_tokens: int = 0
    engine_seconds: float = 0.0
    gpu_seconds: float = 0.0

    def answered(self, usage: Usage) -> StageCost:
        """Return the cost with an answer of this run."""
        told = usage.prompt_tokens is not None and usage.completion_tokens is not None
        return replace(
            self,
            requests=self.requests + 1,
            prompt_tokens=self.prompt_tokens + (usage.prompt_tokens or 0),
            completion_tokens=self.completion_tokens + (usage.completion_tokens or 0),
            uncounted=self.uncounted + (not told),
        )

    def was_remembered(self, usage: Usage) -> StageCost:
        """Return the cost with an answer of the journal."""
        return replace(
            self,
            remembered=self.remembered + 1,
            remembered_prompt_tokens=self.remembered_prompt_tokens + (usage.prompt_tokens or 0),
            remembered_completion_tokens=self.remembered_completion_tokens + (usage.completion_tokens or 0),
        )

    def has_failed(self) -> StageCost:
        """Return the cost with a request that gave no answer."""
        return replace(self, failed=self.failed + 1)


@dataclass(slots=True)
class Costs:
    """The books of a run, by stage."""

    stages: dict[Stage, StageCost] = field(default_factory=lambda: {stage: StageCost() for stage in STAGES})

    def answered(self, stage: Stage, usage: Usage) -> None:
        """Count an answer of this run."""
        self.stages[stage] = self.stages[stage].answered(usage)

    def remembered(self, stage: Stage, usage: Usage) -> None:
        """Count an answer of the journal."""
        self.stages[stage] = self.stages[stage].was_remembered(usage)

    def failed(self, stage: Stage) -> None:
        """Count a request that gave no answer."""
        self.stages[stage] = self.stages[stage].has_failed()

    def engines_ran(self, stage: Stage, seconds: float, *, gpus: int) -> None:
        """Count the seconds of engines, and of the GPUs that each of them took."""
        cost = self.stages[stage]
        self.stages[stage] = replace(
            cost,
            engine_seconds=round(cost.engine_seconds + seconds, 1),
            gpu_seconds=round(cost.gpu_seconds + seconds * gpus, 1),
        )

    @property
    def failures(self) -> int:
        """Requests of all stages that gave no answer."""
        return sum(cost.failed for cost in self.stages.values())
