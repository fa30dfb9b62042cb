"""What PEFT says of an adapter: the word that the engine is held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from train.engine.probe import Probe, Reading, Tokens

if TYPE_CHECKING:
    from peft import PeftModel


def read_peft(probe: Probe, *, begin: Callable[[str], None]) -> Reading:
    """Load base and adapter with PEFT, score the rows, and answer the prompts.

    Args:
        probe: What is asked.
        begin: Told what is done next.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(probe.threads)
    begin("load the base model")
    base = AutoModelForCausalLM.from_pretrained(
        probe.base, dtype=getattr(torch, probe.dtype), attn_implementation="sdpa", local_files_only=True
    )
    begin("load the adapter")
    model = PeftModel.from_pretrained(base.to("cuda" if probe.device == "gpu" else "cpu"), str(probe.adapter)).eval()
    begin("score rows with it")
    with torch.inference_mode():
        adapted = tuple(_score(model, row) for row in probe.rows.scored)
        with model.disable_adapter():
            alone = tuple(_score(model, row) for row in probe.rows.scored)
        begin("answer with it")
        answers = [_answer(model, prompt, length=probe.rows.written) for prompt in probe.rows.prompts]
    written, margins = zip(*answers, strict=True) if answers else ((), ())
    return Reading(base=alone, adapter=adapted, written=written, margins=margins)


def _score(model: PeftModel, row: Tokens) -> tuple[float, ...]:
    import torch

    ids = torch.tensor([row], device=model.device)
    scores = model(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
    return tuple(scores.gather(-1, ids[0, 1:, None])[:, 0].tolist())


def _answer(model: PeftModel, prompt: Tokens, *, length: int) -> tuple[Tokens, tuple[float, ...]]:
    """Write greedily, whatever the base model's own generation settings say, and past its end mark."""
    import torch

    ids, cache = torch.tensor([prompt], device=model.device), None
    written: list[int] = []
    margins: list[float] = []
    for _ in range(length):
        output = model(input_ids=ids, past_key_values=cache, use_cache=True)
        best = output.logits[0, -1].float().log_softmax(-1).topk(2)
        written.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        ids, cache = best.indices[None, :1], output.past_key_values
    return tuple(written), tuple(margins)
