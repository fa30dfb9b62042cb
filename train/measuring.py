"""What a trained adapter is worth: the loss and the answers of base and adapter, shared out over the workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from train import scores
from train.answering import answer_room, answered_rows, last_answer
from train.packing import pack
from train.plan import WorkerPlan, WorkerRows
from train.reserve import ForwardCost
from train.sft import IGNORED, supervised_nll
from train.wording import token_f1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from train.settings import TrainSettings
    from train.sft import GraftTrainer
    from train.starts import Start
    from train.tokens import TokenRows

# What a pass takes is read from one over a token and one over so many, each the fastest of some: a second with 135
# million parameters on a core.
_TIMED_TOKENS, _TIMED_PASSES = 128, 3


def measure(
    trainer: GraftTrainer, rows: WorkerRows, *, plan: WorkerPlan, start: Start | None = None
) -> dict[str, float]:
    """Measure the adapter, and its base model without it; every worker gets the same scores.

    Args:
        trainer: Holds the model.
        rows: What is measured on.
        plan: The run.
        start: Where the adapter began, if its start changed the base.

    Returns:
        Scores by their names in `train.scores`; empty where there is nothing to measure them on.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.eval()
    found: dict[str, float] = {}

    def both(name: str, value: Callable[[], float | None]) -> None:
        adapted = value()
        with model.disable_adapter() if start is None else start.in_place(model):
            alone = value()
        if adapted is not None and alone is not None:
            found[name], found[scores.base(name)] = adapted, alone

    evaluation, general = rows.evaluation, rows.general
    if evaluation is not None:
        scored = scored_rows(evaluation, settings=plan.settings)
        both(scores.EVAL_LOSS, lambda: mean_loss(trainer, scored, dtype=plan.dtype))
        if answered := plan.settings.eval_answers:
            both(scores.F1, lambda: mean_f1(trainer, evaluation, dtype=plan.dtype, most=answered))
    if general is not None:
        unrelated = scored_rows(general, settings=plan.settings)
        both(scores.GENERAL_LOSS, lambda: mean_loss(trainer, unrelated, dtype=plan.dtype))
    return scores.with_differences(found)


def scored_rows(rows: TokenRows, *, settings: TrainSettings) -> TokenRows:
    """Return the rows as a loss is measured on them: packed as those that are learned, or as they are."""
    return pack(rows, length=settings.sequence_length) if settings.packing else rows


def forward_cost(trainer: GraftTrainer, rows: TokenRows, *, dtype: str) -> ForwardCost:
    """Time what a forward pass takes here: over a few tokens of the dataset, and over more of them."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.eval()
    ids = rows.ids[:_TIMED_TOKENS]

    def timed(tokens: int) -> tuple[int, float]:
        input_ids = _tensor(ids[:tokens], trainer)
        seconds = []
        for _ in range(_TIMED_PASSES):
            began = time.perf_counter()
            logits = model(input_ids=input_ids, logits_to_keep=1, use_cache=False).logits
            float(logits.sum())  # a GPU has done it by then
            seconds.append(time.perf_counter() - began)
        return tokens, min(seconds)

    with _scoring(trainer, dtype=dtype):
        return ForwardCost.of_two(timed(1), timed(len(ids)))


def loss_between_steps(trainer: GraftTrainer, rows: TokenRows, *, dtype: str) -> float:
    """Return the mean loss as `mean_loss` does, and go on training; infinite where nothing is learned."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.eval()
    loss = mean_loss(trainer, rows, dtype=dtype)
    model.train()
    return math.inf if loss is None else loss


def mean_loss(trainer: GraftTrainer, rows: TokenRows, *, dtype: str) -> float | None:
    """Return the mean loss in nats per supervised token; the workers share the rows, and all get the mean."""
    model = trainer.accelerator.unwrap_model(trainer.model)

    def one(row: int) -> tuple[float, float]:
        ids, supervised = rows.row(row)
        input_ids = _tensor(ids, trainer)
        context = (
            {"attention_mask": torch.ones_like(input_ids)}
            if rows.borders is None
            else {"position_ids": _tensor(rows.positions(row), trainer)}
        )
        inputs = {
            "input_ids": input_ids,
            **context,
            "labels": input_ids.masked_fill(~torch.tensor(supervised, device=input_ids.device), IGNORED),
        }
        total, count = supervised_nll(model, inputs)
        return float(total), float(count)

    return _shared_mean(trainer, range(len(rows)), one, dtype=dtype)


def mean_f1(trainer: GraftTrainer, rows: TokenRows, *, dtype: str, most: int) -> float | None:
    """Return the mean word overlap of greedy answers with the last answers of rows.

    Args:
        trainer: Holds the model.
        rows: What is asked and answered.
        dtype: Number type of the arithmetic.
        most: Rows that are answered at most, spread evenly.

    Returns:
        0 to 1; None where no row has a question before its answer.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    tokenizer: Any = trainer.processing_class
    special = set(tokenizer.all_special_ids)

    def one(row: int) -> tuple[float, float]:
        split = last_answer(*rows.row(row))
        if split is None:
            return 0.0, 0.0
        prompt, answer = split
        input_ids = _tensor(prompt, trainer)
        written = model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=answer_room(len(answer)),
            do_sample=False,
            use_cache=True,
            eos_token_id=sorted({int(tokenizer.eos_token_id), *special.intersection(answer.tolist())}),
            pad_token_id=int(tokenizer.eos_token_id),
        )[0, len(prompt) :]
        given, wanted = (tokenizer.decode(each, skip_special_tokens=True) for each in (written, answer))
        return token_f1(given, wanted), 1.0

    return _shared_mean(trainer, answered_rows(len(rows), most=most), one, dtype=dtype)


def _shared_mean(
    trainer: GraftTrainer, rows: Sequence[int], one: Callable[[int], tuple[float, float]], *, dtype: str
) -> float | None:
    """The weighted mean of what rows give, each worker taking its share of them; None where nothing has a weight.

    Workers without a row in the last round repeat one for nothing: those that share a model's weights out (FSDP2) wait
    for each other in every forward pass.
    """
    accelerator = trainer.accelerator
    sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    with _scoring(trainer, dtype=dtype):
        for first in range(0, len(rows), accelerator.num_processes):
            place = first + accelerator.process_index
            found = torch.tensor(one(rows[min(place, len(rows) - 1)]), dtype=torch.float64)
            if place < len(rows):
                sums += found.to(sums)
    total, count = accelerator.reduce(sums, reduction="sum").tolist()
    return float(total / count) if count else None


@contextmanager
def _scoring(trainer: GraftTrainer, *, dtype: str) -> Iterator[None]:
    kind = trainer.accelerator.device.type
    with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=dtype == "bfloat16"):
        yield


def _tensor(ids: NDArray[np.integer], trainer: GraftTrainer) -> torch.Tensor:
    return torch.tensor(ids, dtype=torch.int64, device=trainer.accelerator.device)[None]
