"""How many tokens a request may cost, before it is made. Pure."""

from __future__ import annotations

from pydantic import JsonValue

from serve.layers.call import Call

# Bytes of UTF-8 a token has at least on average: English has 4 to 5 with vocabularies of 32,000 and more, code 3,
# Chinese and Japanese 2 to 3. Too low a number reserves too much for a moment; what was used is settled at the end.
_BYTES_PER_TOKEN = 3
# Tokens of a chat's markup for one message.
_PER_MESSAGE = 8


def tokens_at_most(call: Call, *, max_model_len: int) -> int:
    """Tokens to reserve for a call: those of its input, of what is retrieved for it, and of its answers.

    Args:
        call: The call, its specialist's defaults already in its body.
        max_model_len: The engine's context length in tokens, which neither input nor an answer exceeds.
    """
    if call.route.counts == "none":
        return 0
    prompt = sum(_tokens(call.body.get(name)) for name in call.route.prompt_fields)
    if call.route.counts == "prompt":
        return prompt
    specialist = call.target.specialist
    if specialist is not None:
        prompt += _tokens(specialist.prompt)
        if call.route.retrieves and specialist.collection is not None:
            prompt += specialist.retrieval.max_context_tokens
    prompts = _prompts(call)
    answer = min(max_model_len, _limit(call) or max(0, max_model_len - prompt))
    return min(prompt, prompts * max_model_len) + prompts * _choices(call) * answer


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


def _limit(call: Call) -> int | None:
    for name in call.route.limit_fields:
        value = call.body.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _prompts(call: Call) -> int:
    """Texts that are answered one by one: a completion takes a list of prompts."""
    prompt = call.body.get("prompt")
    if call.route.name != "completions" or not isinstance(prompt, list):
        return 1
    return max(1, sum(not isinstance(entry, int) for entry in prompt))


def _choices(call: Call) -> int:
    counts = (call.body.get(name) for name in ("n", "best_of"))
    return max((count for count in counts if isinstance(count, int) and not isinstance(count, bool)), default=1) or 1
