"""How many tokens a request may cost, before it is made. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import JsonValue, TypeAdapter, ValidationError

from serve.layers.call import Call

# Bytes of UTF-8 a token has at least on average: English has 4 to 5 with vocabularies of 32,000 and more, code 3,
# Chinese and Japanese 2 to 3. Too low a number reserves too much for a moment; what was used is settled at the end.
_BYTES_PER_TOKEN = 3
# Tokens of a chat's markup for one message.
_PER_MESSAGE = 8
# Choices that vLLM makes at most (VLLM_MAX_N_SEQUENCES in vllm/envs.py); it refuses more, and less than one.
_MOST_CHOICES = 16_384
# Numbers as vLLM's models read them: also "2" and 2.0.
_INTEGER = TypeAdapter(int)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens that a call may cost; no number is ever negative.

    Attributes:
        prompt: Tokens of all of its input, and of what is retrieved for it.
        answers: Answers that are generated.
        answer: Tokens of each of them at most.
        named: Whether the request itself says how long an answer may get.
    """

    prompt: int
    answers: int = 0
    answer: int = 0
    named: bool = True

    @property
    def total(self) -> int:
        """Tokens to reserve."""
        return self.prompt + self.answers * self.answer

    def within(self, limit: int) -> Estimate:
        """The same with answers so short that all fits a limit, where the request leaves that open and it can be."""
        if self.named or self.total <= limit or limit < self.prompt + self.answers:
            return self
        return replace(self, answer=(limit - self.prompt) // self.answers)


def estimate_tokens(call: Call, *, max_model_len: int) -> Estimate:
    """Tokens that a call may cost.

    Args:
        call: The call, its specialist's defaults already in its body and what it changes of them in its plan.
        max_model_len: The engine's context length in tokens, which neither input nor an answer exceeds.
    """
    if call.route.counts == "none":
        return Estimate(0)
    prompt = sum(_tokens(call.body.get(name)) for name in call.route.prompt_fields)
    if call.route.counts == "prompt":
        return Estimate(prompt)
    specialist = call.target.specialist
    if specialist is not None:
        prompt += _tokens(specialist.prompt)
        if call.route.retrieves and specialist.collection is not None and call.plan is not None and call.plan.wanted:
            prompt += call.plan.settings.max_context_tokens
    prompts = _prompts(call)
    rest = max(0, max_model_len - prompt)
    named = next((value for name in call.route.limit_fields if (value := call.body.get(name)) is not None), None)
    if named is not None:
        asked = _integer(named)
        answer = rest if asked is None else max(1, min(max_model_len, asked))
    elif call.route.default_limit is not None and not any(name in call.body for name in call.route.limit_fields):
        answer = min(rest, call.route.default_limit)
    else:
        answer = rest
    return Estimate(
        prompt=min(prompt, prompts * max_model_len),
        answers=prompts * _choices(call),
        answer=answer,
        named=named is not None,
    )


def _tokens(value: JsonValue) -> int:
    match value:
        case str():
            return -(-len(value.encode(errors="replace")) // _BYTES_PER_TOKEN)
        case list():
            if all(isinstance(entry, int) for entry in value):
                return len(value)
            return sum(_tokens(entry) + (_PER_MESSAGE if isinstance(entry, dict) else 0) for entry in value)
        case dict():
            return sum(_tokens(entry) for entry in value.values())
    return 0


def _integer(value: JsonValue) -> int | None:
    try:
        return _INTEGER.validate_python(value)
    except ValidationError:
        return None


def _prompts(call: Call) -> int:
    """Texts that are answered one by one: a completion takes a list of prompts."""
    prompt = call.body.get("prompt")
    if call.route.name != "completions" or not isinstance(prompt, list):
        return 1
    return max(1, sum(not isinstance(entry, int) for entry in prompt))


def _choices(call: Call) -> int:
    counts = (_integer(call.body.get(name)) for name in ("n", "best_of"))
    return max(1, min(_MOST_CHOICES, max((count for count in counts if count is not None), default=1)))
