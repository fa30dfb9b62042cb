"""Training rows from questions and what retrieval found for them: half with context, half without. No I/O but writing.

A row is a conversation of a few questions about one context, in the very messages that a served specialist would give
the model. Where the golden passages are there, an answer ends in their markers; where they are not, it is the refusal,
so that the adapter learns to trust the context in both directions. Questions share a context because on a CPU its
tokens are most of what a row costs, and every answer in a row is learnt.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from deploy.demo import recipe
from deploy.demo.questions import Question, document_key
from deploy.demo.scoring import count_present, has_all
from indexer.passages import Passage
from serve.prompt import Assembly, ChatMessage, assemble
from train.wording import REFUSAL

TurnKind = Literal["golden", "absent", "unanswerable", "closed"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question of a row and the answer that is learnt.

    Attributes:
        question: The question.
        kind: `golden`: its golden passages are in the context; `absent`: they are not; `unanswerable`: the corpus does
            not answer it; `closed`: there is no context.
        answer: The answer, with markers if golden, else the refusal; plain if closed.
    """

    question: Question
    kind: TurnKind
    answer: str


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One example.

    Attributes:
        turns: Questions and answers, in their order.
        messages: System, then user and assistant by turns.
        context_tokens: Tokens of the passages; 0 without context.
    """

    turns: tuple[Turn, ...]
    messages: tuple[ChatMessage, ...]
    context_tokens: int


@dataclass(frozen=True, slots=True)
class _Context:
    """Passages that are shown, and the questions that they answer, each with its golden ones."""

    passages: tuple[Passage, ...]
    answers: tuple[tuple[Question, tuple[Passage, ...]], ...] = ()


def build_rows(
    questions: Sequence[Question],
    found: Mapping[str, Sequence[Passage]],
    *,
    count_tokens: Callable[[str], int],
    seed: int,
) -> tuple[TrainingRow, ...]:
    """Make rows with context, for each of them one with the same questions and none, and shuffle them.

    Every question stands in one row with context: with its golden passages, or, if those were not found, do not fit or
    are withheld, where it must be refused.

    Args:
        questions: Training questions.
        found: For each question's id the passages that retrieval found, best first, more than the served k.
        count_tokens: Counts a text's tokens with the base model's tokenizer.
        seed: Decides which golden passages are withheld, and the order.
    """
    rng = random.Random(seed)
    answerable = [question.id for question in questions if question.answerable]
    withheld = set(rng.sample(answerable, round(recipe.ABSENT_SHARE * len(answerable))))
    golden = {
        question.id: passages
        for question in questions
        if question.id not in withheld and (passages := golden_passages(question, found.get(question.id, ())))
    }
    contexts: list[_Context] = []
    for group in group_questions(questions, golden, k=recipe.RETRIEVAL.k):
        contexts += _contexts(group, golden, found, count_tokens=count_tokens)
    answered = {question.id for context in contexts for question, _ in context.answers}
    refused = [question for question in questions if question.id not in answered]
    hosts = assign_refused(refused, [context.passages for context in contexts], found)
    rows: list[TrainingRow] = []
    for position, context in enumerate(contexts):
        guests = [question for question in refused if hosts.get(question.id) == position]
        rows += _two_rows(context, guests, rng=rng, count_tokens=count_tokens)
    for question in refused:
        if question.id not in hosts:
            lacking = without_answer(question, found.get(question.id, ()))[: recipe.RETRIEVAL.k]
            rows += _two_rows(_Context(lacking), [question], rng=rng, count_tokens=count_tokens)
    rng.shuffle(rows)
    return tuple(rows)


def group_questions(
    questions: Sequence[Question], golden: Mapping[str, Sequence[Passage]], *, k: int
) -> tuple[tuple[Question, ...], ...]:
    """Questions that may share a context: together they need at most k golden passages; each stands in one group.

    Neighbours by source are put together, at most `TURNS` of them; one that alone needs more than k is in none.
    """
    able = [question for question in questions if 0 < len(golden.get(question.id, ())) <= k]
    groups: list[list[Question]] = []
    needed: set[str] = set()
    for question in sorted(able, key=lambda question: question.sources):
        own = {passage.chunk_id for passage in golden[question.id]}
        if groups and len(groups[-1]) < recipe.TURNS and len(needed | own) <= k:
            groups[-1].append(question)
            needed |= own
        else:
            groups.append([question])
            needed = own
    return tuple(tuple(group) for group in groups)


def assign_refused(
    refused: Sequence[Question], contexts: Sequence[Sequence[Passage]], found: Mapping[str, Sequence[Passage]]
) -> dict[str, int]:
    """For each question to refuse the context nearest to it that does not answer it, by position; one question each.

    Near is what retrieval found for it: the sum of the inverse ranks of the context's passages. A question to which no
    free context is near has none.
    """
    hosts: dict[str, int] = {}
    for question in refused:
        ranks = {passage.chunk_id: rank for rank, passage in enumerate(found.get(question.id, ()), start=1)}
        nearness = {
            position: sum(1 / ranks[passage.chunk_id] for passage in context if passage.chunk_id in ranks)
            for position, context in enumerate(contexts)
            if position not in hosts.values() and len(without_answer(question, context)) == len(context)
        }
        best = max(nearness, key=lambda position: nearness[position], default=None)
        if best is not None and nearness[best] > 0:
            hosts[question.id] = best
    return hosts


def golden_passages(question: Question, passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """For each source the passage that holds most of what the answer must include, the better ranked of equals.

    Empty unless every source was found and its passages together hold all required phrases: an answer that the context
    does not give would teach the model to make answers up.
    """
    if not question.answerable:
        return ()
    best: list[Passage] = []
    for source in question.sources:
        candidates = [passage for passage in passages if document_key(passage.document_id) == source]
        if not candidates:
            return ()
        best.append(max(candidates, key=lambda passage: count_present(passage.text, question.must_include)))
    return tuple(best) if has_all("\n".join(passage.text for passage in best), question.must_include) else ()


def without_answer(question: Question, passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """The passages that are of none of the sources and do not happen to hold all that the answer must include."""
    return tuple(
        passage
        for passage in passages
        if document_key(passage.document_id) not in question.sources
        and not has_all(passage.text, question.must_include)
    )


def place_golden(passages: Sequence[Passage], golden: Sequence[Passage], *, k: int) -> tuple[Passage, ...]:
    """The best k passages with the golden ones among them: a missing one takes the place of the last other one.

    The order stays that of the retrieval, as in serving.
    """
    wanted = {passage.chunk_id for passage in golden}
    kept = list(passages[:k])
    for passage in golden:
        if passage.chunk_id in {other.chunk_id for other in kept}:
            continue
        others = [position for position, other in enumerate(kept) if other.chunk_id not in wanted]
        if len(kept) >= k and others:
            del kept[others[-1]]
        kept.append(passage)
    ranks = {passage.chunk_id: rank for rank, passage in enumerate(passages)}
    return tuple(sorted(kept, key=lambda passage: ranks[passage.chunk_id]))


def cite_answer(answer: str, numbers: Sequence[int]) -> str:
    """The answer with markers before its full stop: 'It stops at 17 m/s [2].'"""
    markers = "".join(f"[{number}]" for number in sorted(set(numbers)))
    text = answer.strip()
    if not markers:
        return text
    end = text[-1] if text.endswith((".", "!", "?")) else "."
    return f"{text.rstrip('.!?')} {markers}{end}"


def write_rows(rows: Sequence[TrainingRow], path: Path) -> None:
    """Write the rows as chat JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({"messages": list(row.messages)}, ensure_ascii=False) + "\n")


def _contexts(
    group: Sequence[Question],
    golden: Mapping[str, tuple[Passage, ...]],
    found: Mapping[str, Sequence[Passage]],
    *,
    count_tokens: Callable[[str], int],
) -> list[_Context]:
    """One context for the group; one for each question if the token budget drops a golden passage of the group's.

    Golden passages stand among others if they fit so, else alone.
    """
    wanted = {passage.chunk_id for question in group for passage in golden[question.id]}
    ranked = _interleave([found[question.id] for question in group])
    alone = tuple(passage for passage in ranked if passage.chunk_id in wanted)
    for shown in (place_golden(ranked, alone, k=recipe.RETRIEVAL.k), alone):
        kept = _assemble(group, shown, count_tokens=count_tokens).passages
        if wanted <= {passage.chunk_id for passage in kept}:
            return [_Context(kept, tuple((question, golden[question.id]) for question in group))]
    if len(group) == 1:
        return []
    return [
        context for question in group for context in _contexts([question], golden, found, count_tokens=count_tokens)
    ]


def _interleave(lists: Sequence[Sequence[Passage]]) -> tuple[Passage, ...]:
    """The first of each list, then the second of each, ...; a passage once."""
    merged = {passage.chunk_id: passage for rank in zip_longest(*lists) for passage in rank if passage is not None}
    return tuple(merged.values())


def _two_rows(
    context: _Context, refused: Sequence[Question], *, rng: random.Random, count_tokens: Callable[[str], int]
) -> tuple[TrainingRow, TrainingRow]:
    numbers = {passage.chunk_id: number for number, passage in enumerate(context.passages, start=1)}
    turns = [
        Turn(question, "golden", cite_answer(question.answer, [numbers[passage.chunk_id] for passage in golden]))
        for question, golden in context.answers
    ]
    turns += [Turn(question, "absent" if question.answerable else "unanswerable", REFUSAL) for question in refused]
    rng.shuffle(turns)
    closed = [
        Turn(turn.question, "closed", turn.question.answer.strip() if turn.question.answerable else REFUSAL)
        for turn in turns
    ]
    return (
        _row(turns, context.passages, count_tokens=count_tokens),
        _row(closed, (), count_tokens=count_tokens),
    )


def _row(turns: Sequence[Turn], passages: Sequence[Passage], *, count_tokens: Callable[[str], int]) -> TrainingRow:
    assembly = _assemble([turn.question for turn in turns], passages, count_tokens=count_tokens)
    messages: list[ChatMessage] = []
    answers = iter(turns)
    for message in assembly.messages:
        messages.append(message)
        if message["role"] == "user":
            messages.append({"role": "assistant", "content": next(answers).answer})
    return TrainingRow(tuple(turns), tuple(messages), assembly.context_tokens)


def _assemble(
    questions: Sequence[Question], passages: Sequence[Passage], *, count_tokens: Callable[[str], int]
) -> Assembly:
    return assemble(
        [{"role": "user", "content": question.question} for question in questions],
        prompt=recipe.PROMPT,
        passages=passages,
        max_context_tokens=recipe.RETRIEVAL.max_context_tokens,
        max_model_len=recipe.MAX_MODEL_LEN,
        max_new_tokens=recipe.MAX_NEW_TOKENS,
        count_tokens=count_tokens,
    )
