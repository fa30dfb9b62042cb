"""Scores of a trained adapter beside those of its base model, and what follows from both. Pure."""

from __future__ import annotations

from collections.abc import Mapping

# Of the adapter; those of the base model alone have `base_` in front. Losses are mean negative log-likelihoods in nats
# per supervised token; f1 is the mean word overlap of greedy answers with those of the rows, 0 to 1.
EVAL_LOSS, GENERAL_LOSS, F1 = "eval_loss", "general_loss", "f1"
_EVAL_GAIN, _FORGETTING, _F1_GAIN = "eval_gain", "forgetting", "f1_gain"


def base(score: str) -> str:
    """The name of a score of the base model alone."""
    return f"base_{score}"


def lower_is_better(score: str) -> bool:
    """Whether less of a score is better: of a loss and of forgetting."""
    return score.endswith("loss") or score == _FORGETTING


def with_differences(scores: Mapping[str, float]) -> dict[str, float]:
    """Add what the adapter gained and lost against its base model.

    Args:
        scores: Of both.

    Returns:
        The scores; `eval_gain` (nats per token by which the evaluation loss fell), `f1_gain`, and `forgetting` (nats
        per token by which the loss on general text rose), each where what it is made of is there.
    """
    found = dict(scores)
    for name, score, sign in ((_EVAL_GAIN, EVAL_LOSS, -1), (_F1_GAIN, F1, 1), (_FORGETTING, GENERAL_LOSS, 1)):
        if score in scores:
            found[name] = sign * (scores[score] - scores[base(score)])
    return found


def measured_names(*, evaluation: bool, answers: bool, general: bool) -> frozenset[str]:
    """Names of the scores that a run will have, by what it measures."""
    names = [
        name
        for name, there in ((EVAL_LOSS, evaluation), (F1, evaluation and answers), (GENERAL_LOSS, general))
        if there
    ]
    return frozenset(with_differences({each: 0.0 for name in names for each in (name, base(name))}))
