from __future__ import annotations

import random

from train.data.duplicates import exact_groups, near_groups, question, shingles, spoken
from train.data.row import Example, Origin, Turn

WORDS = [f"word{number}" for number in range(16)]


def sentence(seed: int, length: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def changed(text: str, *, words: int, seed: int) -> str:
    chance, said = random.Random(seed), text.split()
    for place in chance.sample(range(len(said)), words):
        said[place] = f"other{place}"
    return " ".join(said)


def jaccard(one: str, other: str) -> float:
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def test_what_is_said_leaves_out_spaces_capitals_and_the_system_prompt() -> None:
    turns = (Turn("system", "Be brief."), Turn("user", "How  DEEP?\n"), Turn("assistant", "Two."))
    example = Example(turns, Origin("f", 1))
    assert spoken(example) == "user: how deep? assistant: two."
    assert question(example) == "how deep?"


def test_equal_texts_are_together() -> None:
    assert exact_groups(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]


def test_texts_that_differ_in_a_few_words_are_near_and_others_are_not() -> None:
    texts = [sentence(seed) for seed in range(200)]
    twins = {seed: changed(texts[seed], words=1, seed=seed) for seed in range(0, 200, 10)}
    strangers = {seed: changed(texts[seed], words=20, seed=seed) for seed in range(5, 200, 10)}
    assert all(jaccard(texts[seed], twin) > 0.88 for seed, twin in twins.items())
    assert all(jaccard(texts[seed], other) < 0.5 for seed, other in strangers.items())
    everything = [*texts, *twins.values(), *strangers.values()]
    groups = near_groups(everything)
    assert [group[0] for group in groups] == [group[0] for group in sorted(groups)]
    found = {tuple(group) for group in groups}
    expected = {(seed, 200 + number) for number, seed in enumerate(twins)}
    assert found == expected


def test_equal_and_short_texts_are_not_near() -> None:
    text = sentence(1)
    assert near_groups([text, text, "yes it is", "yes it was"]) == []
