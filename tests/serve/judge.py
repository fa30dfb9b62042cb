"""PEFT as the judge of whose answer an answer is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Tokens = tuple[int, ...]
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Said:
    """A prompt and what was answered to it, in tokens."""

    prompt: Tokens
    answer: Tokens


class Judge:
    """The base model and adapters in PEFT, float32: how likely each of them is to have said something."""

    def __init__(self, base: Path) -> None:
        """Load the base."""
        from transformers import AutoModelForCausalLM

        self._base: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        self._names: dict[str, str] = {}
        self._model: Any = None

    @property
    def adapters(self) -> tuple[str, ...]:
        """The adapters that it knows."""
        return tuple(self._names)

    def learn(self, adapters: Mapping[str, Path]) -> None:
        """Load more adapters; PEFT allows no dots in their names, so they get numbers there."""
        from peft import PeftModel

        for ref, folder in adapters.items():
            name = self._names[ref] = f"n{len(self._names)}"
            if self._model is None:
                self._model = PeftModel.from_pretrained(self._base, folder, adapter_name=name)
            else:
                self._model.load_adapter(folder, adapter_name=name)
        self._model.eval()

    def token_scores(self, ref: str, prompts: Sequence[Tokens], answers: Sequence[Tokens]) -> torch.Tensor:
        """Log-probabilities of answers' tokens under one adapter, teacher-forced: [answers, tokens of an answer].

        Prompts are of one length, answers too.
        """
        self._model.set_adapter(self._names[ref])
        whole = torch.tensor([[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)])
        length = len(answers[0])
        parts = []
        for batch in whole.split(_AT_ONCE):
            with torch.no_grad():
                logits = self._model(input_ids=batch, logits_to_keep=length + 1).logits[:, :-1]
            parts.append(logits.log_softmax(-1).gather(-1, batch[:, -length:, None]).squeeze(-1))
        return torch.cat(parts)

    def continuation(self, ref: str, prompt: Tokens, length: int) -> Tokens:
        """What an adapter says after a prompt, greedily and without an end."""
        self._model.set_adapter(self._names[ref])
        said = list(prompt)
        with torch.no_grad():
            for _ in range(length):
                logits = self._model(input_ids=torch.tensor([said]), logits_to_keep=1).logits
                said.append(int(logits[0, -1].argmax()))
        return tuple(said[len(prompt) :])

    def likeliest(self, said: Iterable[Said], *, among: Sequence[str] | None = None) -> dict[Said, str]:
        """For each answer the adapter that is most likely to have given it: of those named, else of all."""
        given = list(dict.fromkeys(said))
        refs = self.adapters if among is None else tuple(among)
        prompts, answers = [one.prompt for one in given], [one.answer for one in given]
        scores = torch.stack([self.token_scores(ref, prompts, answers).sum(-1) for ref in refs])
        return {one: refs[int(best)] for one, best in zip(given, scores.argmax(0), strict=True)}
