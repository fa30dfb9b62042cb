"""TRL's SFTTrainer with the three things it cannot know: our row order, our schedule, and what is slow on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from trl import SFTTrainer

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
_CONTEXT = ("attention_mask", "position_ids")


def token_losses(model: Callable[..., object], inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Score the supervised tokens, running the output layer on their positions only.

    Args:
        model: Causal language model whose forward takes `logits_to_keep`.
        inputs: input_ids, labels and attention_mask, each int64 [rows, tokens]; labels -100: nothing to learn there.
            Packed rows have position_ids in place of the mask: transformers tells them apart by these alone.

    Returns:
        float32 [rows * positions], the negative log-likelihoods at the positions that any row supervises, 0 where a row
        does not; and int64 [], how many tokens are supervised.
    """
    targets = inputs["labels"][:, 1:]
    positions = (targets != IGNORED).any(dim=0).nonzero().flatten()
    outputs = model(
        input_ids=inputs["input_ids"],
        logits_to_keep=positions,
        use_cache=False,
        **{name: inputs[name] for name in _CONTEXT if name in inputs},
    )
    logits = outputs.logits.float()  # type: ignore[attr-defined]
    wanted = targets[:, positions]
    losses = cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none")
    return losses, (wanted != IGNORED).sum()


def supervised_nll(model: Callable[..., object], inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Sum the negative log-likelihood of the supervised tokens; see `token_losses`.

    Returns:
        The sum, and the number of supervised tokens; both scalars.
    """
    losses, count = token_losses(model, inputs)
    return losses.sum(), count


class GraftTrainer(SFTTrainer):  # type: ignore[misc, unused-ignore]
    """SFTTrainer on rows that are tokenised and ordered already.

    On a CPU the loss runs the output layer on supervised positions only. (TRL does so where Triton is; elsewhere it
    scores every position, which with 49,152 tokens in the vocabulary is 40% of a step.) TRL's entropy and accuracy
    metrics are left out there.
    """

    def __init__(self, *, factor: Callable[[int], float], **options: object) -> None:
        """Take the learning-rate factor as a function of the steps taken, and SFTTrainer's own options."""
        self._factor = factor
        super().__init__(**options)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LambdaLR:
        """Use our factor in place of the named schedules of transformers."""
        del num_training_steps
        self.lr_scheduler = scheduler = LambdaLR(optimizer or self.optimizer, self._factor)
        self._created_lr_scheduler = True
        return scheduler

    def compute_loss(
        self,
        model: Callable[..., object],
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Return the mean loss per supervised token over all workers' rows of this step."""
        if return_outputs or inputs["input_ids"].device.type != "cpu":
            loss: Tensor = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return loss
        total, count = supervised_nll(model, inputs)
        if num_items_in_batch is None:
            return total / count.clamp(min=1)
        # The count covers all workers, and DDP averages their gradients.
        workers = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return total * workers / num_items_in_batch
