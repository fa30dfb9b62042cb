"""Rows that say the same: exactly, but for spaces and capitals, or nearly, by the words that stand beside each other.

Near duplicates are found by MinHash and locality-sensitive hashing (Broder, "On the resemblance and containment of
documents", 1997; Lee et al., "Deduplicating Training Data Makes Language Models Better", 2022), by datasketch.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from train.data.row import Example

# Words in a row that are taken together, and the share of such runs that near duplicates have in common.
SHINGLE_WORDS, NEAR = 3, 0.8
_PERMUTATIONS = 128
# Of the threshold, from where pairs are counted: hashing finds few of those that are only just above its own.
_LOOKED_AT = 0.75
_WORD = re.compile(r"\w+")
# A row of fewer words has so few runs that one word decides; such rows are only compared exactly.
_LEAST_WORDS = 8


def spoken(example: Example) -> str:
    """All that is said in a row, in lower case and with single spaces; what a system prompt says is left out."""
    said = (f"{turn.role}: {turn.content}" for turn in example.turns if turn.role != "system")
    return " ".join(" ".join(said).casefold().split())


def question(example: Example) -> str:
    """What the users of a row say, likewise."""
    said = (turn.content for turn in example.turns if turn.role == "user")
    return " ".join(" ".join(said).casefold().split())


def exact_groups(texts: Sequence[str]) -> list[list[int]]:
    """Return the places of texts that are there more than once, a list for each such text, by its first place."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        places[text].append(place)
    return [found for found in places.values() if len(found) > 1]


def near_groups(texts: Sequence[str], *, threshold: float = NEAR) -> list[list[int]]:
    """Return the places of texts that are nearly alike but not the same, by the first place of each group.

    Groups are transitive: the ends of a chain may have less in common than `threshold`.

    Args:
        texts: In any number; the time grows with their length, not with their pairs.
        threshold: Share of word runs in common, 0 to 1 (Jaccard): counted, where MinHash says that it may be so.
    """
    from datasketch import MinHash, MinHashLSH

    first = {text: place for place, text in reversed(list(enumerate(texts)))}
    index = MinHashLSH(threshold=_LOOKED_AT * threshold, num_perm=_PERMUTATIONS)
    runs_of: dict[int, frozenset[str]] = {}
    leader: dict[int, int] = {}

    def lead(place: int) -> int:
        while leader.setdefault(place, place) != place:
            place = leader[place]
        return place

    for text, place in sorted(first.items(), key=lambda item: item[1]):
        runs = runs_of[place] = shingles(text)
        if not runs:
            continue
        hashed = MinHash(num_perm=_PERMUTATIONS, seed=1)
        hashed.update_batch([run.encode() for run in runs])
        for other in index.query(hashed):
            if _in_common(runs, runs_of[other]) >= threshold:
                one, two = sorted((lead(place), lead(other)))
                leader[two] = one
        index.insert(place, hashed)
    groups: dict[int, list[int]] = defaultdict(list)
    for place in sorted(leader):
        groups[lead(place)].append(place)
    return [found for _, found in sorted(groups.items()) if len(found) > 1]


def _in_common(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def shingles(text: str) -> frozenset[str]:
    """The runs of words of a text; none of a short one."""
    words = _WORD.findall(text)
    if len(words) < _LEAST_WORDS:
        return frozenset()
    return frozenset(" ".join(words[start : start + SHINGLE_WORDS]) for start in range(len(words) - SHINGLE_WORDS + 1))
