from __future__ import annotations

from serve.bench.prompts import Prompts


def halves(text: str) -> int:
    """A tokenizer that cuts long words."""
    return sum(1 + (len(word) > 5) for word in text.split())


def test_prompts_have_the_wanted_length_and_none_is_like_another() -> None:
    prompts = Prompts(seed=3, tokens=40, count_tokens=halves)
    taken = prompts.take(30) + prompts.take(30)
    assert len(set(taken)) == 60
    assert {halves(text) for text in taken} <= {39, 40, 41}
    starts = {text.split()[0] for text in taken}
    assert len(starts) > 20  # or a prefix cache would answer


def test_a_seed_gives_the_same_prompts() -> None:
    first, same, other = (Prompts(seed=seed, tokens=20, count_tokens=halves).take(3) for seed in (1, 1, 2))
    assert first == same != other
