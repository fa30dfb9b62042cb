"""Rows with distractors, after RAFT (Zhang et al., "RAFT: Adapting Language Model to Domain Specific RAG", 2024,
arXiv 2403.10131). Pure.

A row shows what supports the answer among passages that retrieval ranks high for the question and that do not support
it. A share of rows shows only those, and the answer is the refusal. An answer begins with its evidence: the sentence of
each passage that it cites, word for word, behind the passage's number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from indexer.passages import Passage
from train.examples.choosing import draw
from train.examples.grounded import Said, content_words, grounding, numbers
from train.examples.types import Answered, Layout, Rejection, Row
from train.markers import cited, renumbered
from train.wording import REFUSAL

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def with_golden(passages: Sequence[Passage], golden: Sequence[Passage], *, k: int) -> tuple[Passage, ...]:
    """Return k passages in the order of their ranks, the golden ones among them; those that were not found come last.

    More than k golden ones are all there.
    """
    wanted = {passage.chunk_id for passage in golden}
    others = [passage for passage in passages if passage.chunk_id not in wanted][: max(0, k - len(wanted))]
    kept = wanted | {passage.chunk_id for passage in others}
    ranked = [passage for passage in passages if passage.chunk_id in kept]
    found = {passage.chunk_id for passage in ranked}
    return (*ranked, *(passage for passage in golden if passage.chunk_id not in found))


def distractors(answered: Answered, support: Sequence[Passage], *, threshold: float) -> tuple[Passage, ...]:
    """Return what was found in other documents or sections than the support, best first, and holds no answer itself."""
    sections = {(passage.document_id, passage.heading_path) for passage in support}
    return tuple(
        passage
        for passage in answered.found
        if (passage.document_id, passage.heading_path) not in sections
        and not grounding(answered.answer, [passage]).holds(threshold)
    )


def evidence(answer: str, passage: Passage) -> str | None:
    """Return the sentence of a passage that has most of an answer's words and numbers, the shortest of equals, or None.

    Sentences that carry markers of their own are left out: they would read as citations.
    """
    wanted = {*content_words(answer), *numbers(answer)}
    best: tuple[int, int, str] | None = None
    for sentence in (part.strip() for part in _SENTENCE_END.split(passage.text)):
        if not sentence or cited(sentence):
            continue
        said = Said([sentence])
        shared = sum(word in said for word in wanted)
        if shared and (best is None or (shared, -len(sentence)) > best[:2]):
            best = (shared, -len(sentence), sentence)
    return None if best is None else best[2]


def raft_row(
    answered: Answered,
    *,
    layout: Layout,
    prompt: str | None,
    k: int,
    without_golden: float,
    threshold: float,
    seed: int,
) -> Row | Rejection:
    """Make the row of a question.

    Args:
        answered: The question and an answer that was judged good.
        layout: How the row's messages are laid out.
        prompt: The prompt of the specialist that will be taught.
        k: Passages in a row.
        without_golden: Share of questions whose row shows only distractors; one whose distractors would support the
            answer together, or that has none, keeps its golden chunk.
        threshold: Of groundedness.
        seed: Decides which questions those are.
    """
    question = answered.question
    numbers_cited = [number for number in cited(answered.answer) if 1 <= number <= len(answered.shown)]
    if not numbers_cited:
        return Rejection("uncited", question.golden.chunk_id, question.text, answered.answer[:80])
    support = _each_once([question.golden, *(answered.shown[number - 1] for number in numbers_cited)])
    mined = distractors(answered, support, threshold=threshold)
    drawn = draw(seed, "without golden", question.golden.chunk_id, str(question.number)) < without_golden
    if drawn and mined and not grounding(answered.answer, mined[:k]).holds(threshold):
        return _row(answered, mined[:k], REFUSAL, layout=layout, prompt=prompt)
    usable = {passage.chunk_id for passage in (*support, *mined)}
    ranked = [passage for passage in answered.found if passage.chunk_id in usable]
    shown = with_golden(ranked, support, k=k)
    places = {passage.chunk_id: place for place, passage in enumerate(shown, start=1)}
    renumbering = {number: places[answered.shown[number - 1].chunk_id] for number in numbers_cited}
    quotes: list[str] = []
    for number in sorted(renumbering.values()):
        quote = evidence(answered.answer, shown[number - 1])
        if quote is None:
            detail = f"nothing in [{number}] supports the answer"
            return Rejection("without evidence", question.golden.chunk_id, question.text, detail)
        quotes.append(f'[{number}] "{quote}"')
    answer = "\n".join(quotes) + "\n\n" + renumbered(answered.answer, renumbering)
    return _row(answered, shown, answer, layout=layout, prompt=prompt)


def _row(answered: Answered, shown: Sequence[Passage], answer: str, *, layout: Layout, prompt: str | None) -> Row:
    question = answered.question
    messages = layout(question.text, prompt=prompt, passages=shown)
    return Row(
        messages=(*messages, {"role": "assistant", "content": answer}),
        kind="absent" if answer == REFUSAL else "golden",
        golden=question.golden.chunk_id,
        documents=tuple(dict.fromkeys([question.golden.document_id, *(passage.document_id for passage in shown)])),
        chunks=tuple(passage.chunk_id for passage in shown),
        side=question.side,
    )


def _each_once(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    return tuple({passage.chunk_id: passage for passage in passages}.values())
