"""Training rows from questions and what retrieval found for them: half with context, half without. No I/O but writing.

A row with context has the very messages that the served specialist would give the model for that question. Where the
golden passages are there, the answer ends in their markers; where they are not, the answer is the refusal, so that the
adapter learns to trust the context in both directions.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.demo import recipe
from deploy.demo.questions import Question, document_key
from deploy.demo.scoring import count_present, has_all
from indexer.passages import Passage
from serve.prompt import ChatMessage, assemble

RowKind = Literal["golden", "absent", "unanswerable", "closed"]


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One example.

    Attributes:
        question_id: The question it was made of.
        kind: `golden`: context with the golden passages; `absent`: context without them; `unanswerable`: context for a
            question that the corpus does not answer; `closed`: no context.
        messages: System, user, assistant.
        context_tokens: Tokens of the passages; 0 without context.
    """

    question_id: str
    kind: RowKind
    messages: tuple[ChatMessage, ...]
    context_tokens: int


def build_rows(
    questions: Sequence[Question],
    found: Mapping[str, Sequence[Passage]],
    *,
    count_tokens: Callable[[str], int],
    seed: int,
) -> tuple[TrainingRow, ...]:
    """Make two rows of each question, one with context and one without, and shuffle them.

    Args:
        questions: Training questions.
        found: For each question's id the passages that retrieval found, best first, more than the served k.
        count_tokens: Counts a text's tokens with the base model's tokenizer.
        seed: Decides which golden passages are withheld, and the order.
    """
    rng = random.Random(seed)
    answerable = [question.id for question in questions if question.answerable]
    withheld = set(rng.sample(answerable, round(recipe.ABSENT_SHARE * len(answerable))))
    rows: list[TrainingRow] = []
    for question in questions:
        passages = found.get(question.id, ())
        rows.append(_context_row(question, passages, withhold=question.id in withheld, count_tokens=count_tokens))
        rows.append(_closed_row(question, count_tokens=count_tokens))
    rng.shuffle(rows)
    return tuple(rows)


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
    """Write the rows as chat JSON lines; their kind and question go along for readers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({"messages": list(row.messages)}, ensure_ascii=False) + "\n")


def _context_row(
    question: Question, passages: Sequence[Passage], *, withhold: bool, count_tokens: Callable[[str], int]
) -> TrainingRow:
    golden = () if withhold else golden_passages(question, passages)
    if golden and len(golden) <= recipe.RETRIEVAL.k:
        shown = place_golden(passages, golden, k=recipe.RETRIEVAL.k)
    else:
        shown = without_answer(question, passages)[: recipe.RETRIEVAL.k]
    messages, kept, tokens = _prompt(question, shown, count_tokens=count_tokens)
    numbers = [kept.index(passage.chunk_id) + 1 for passage in golden if passage.chunk_id in kept]
    if golden and len(numbers) == len(golden):
        return TrainingRow(question.id, "golden", _answered(messages, cite_answer(question.answer, numbers)), tokens)
    if golden:  # The budget dropped a golden passage, so what is left may answer half: show none of it.
        return _context_row(question, passages, withhold=True, count_tokens=count_tokens)
    kind: RowKind = "absent" if question.answerable else "unanswerable"
    return TrainingRow(question.id, kind, _answered(messages, recipe.REFUSAL), tokens)


def _closed_row(question: Question, *, count_tokens: Callable[[str], int]) -> TrainingRow:
    messages, _, _ = _prompt(question, (), count_tokens=count_tokens)
    answer = question.answer.strip() if question.answerable else recipe.REFUSAL
    return TrainingRow(question.id, "closed", _answered(messages, answer), 0)


def _prompt(
    question: Question, passages: Sequence[Passage], *, count_tokens: Callable[[str], int]
) -> tuple[list[ChatMessage], list[str], int]:
    assembly = assemble(
        [{"role": "user", "content": question.question}],
        prompt=recipe.PROMPT,
        passages=passages,
        max_context_tokens=recipe.RETRIEVAL.max_context_tokens,
        max_model_len=recipe.MAX_MODEL_LEN,
        max_new_tokens=recipe.MAX_NEW_TOKENS,
        count_tokens=count_tokens,
    )
    return assembly.messages, [passage.chunk_id for passage in assembly.passages], assembly.context_tokens


def _answered(messages: Sequence[ChatMessage], answer: str) -> tuple[ChatMessage, ...]:
    return (*messages, {"role": "assistant", "content": answer})
