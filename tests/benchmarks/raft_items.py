"""Questions of two domains, each with its answer, the passages that hold it and those that a search finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.cli.passage_layout import in_system
from deploy.demo import recipe
from deploy.demo.questions import read_questions
from deploy.demo.rows import cite_answer, golden_passages
from indexer.passages import Passage
from tests.indexer.parsers.test_pod import PERL_DOC
from tests.perl_faq import FaqQuestion, faq_questions
from train.examples.plain import plain_row
from train.examples.raft import raft_row
from train.examples.types import Answered, Question, Rejection, Row

# Of the rows with passages, those that show only distractors; the demo's adapter learns to refuse everything at 0.15.
WITHOUT_GOLDEN = 0.1
GROUNDED = 0.8
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_EVIDENCE = re.compile(r'\[\d+\] "')

Search = Callable[[Sequence[str]], Sequence[tuple[Passage, ...]]]


@dataclass(frozen=True, slots=True)
class Item:
    """A question of a domain.

    Attributes:
        question: The question.
        answer: What is right.
        golden: The passages that hold it; empty where the search did not find them all.
        found: What the search found, best first.
        held_out: Whether it is asked and not learnt.
    """

    question: str
    answer: str
    golden: tuple[Passage, ...]
    found: tuple[Passage, ...]
    held_out: bool


def demo_items(search: Search) -> tuple[Item, ...]:
    """The answerable questions of the demo."""
    questions = [each for each in read_questions(recipe.QUESTIONS) if each.answerable]
    found = search([each.question for each in questions])
    return tuple(
        Item(each.question, each.answer, golden_passages(each, passages), passages, each.split == "test")
        for each, passages in zip(questions, found, strict=True)
    )


def perl_items(search: Search) -> tuple[Item, ...]:
    """The headings of Perl's FAQ; the answer is the first sentence of the section that says something."""
    questions = faq_questions(PERL_DOC[0])
    found = search([each.text for each in questions])
    items: list[Item] = []
    for each, passages in zip(questions, found, strict=True):
        golden = next((passage for passage in passages if _opens(passage, each, among=passages)), None)
        answer = None if golden is None else first_sentence(golden.text)
        if golden is not None and answer is not None:
            items.append(Item(each.text, answer, (golden,), passages, each.split == "test"))
    return tuple(items)


def _opens(passage: Passage, question: FaqQuestion, *, among: Sequence[Passage]) -> bool:
    """Whether a passage is the first of a question's section."""

    def within(other: Passage) -> bool:
        return other.document_id.endswith(question.file) and other.heading_path[-1:] == (question.text,)

    return within(passage) and passage.ordinal == min(other.ordinal for other in among if within(other))


def first_sentence(text: str) -> str | None:
    """The first sentence of 6 to 40 words that is no remark in brackets, or None."""
    for paragraph in text.split("\n"):
        for sentence in _SENTENCE_END.split(paragraph.strip()):
            if 6 <= len(sentence.split()) <= 40 and not sentence.startswith("(") and sentence.endswith((".", "!")):
                return sentence
    return None


def rows_of(items: Sequence[Item], *, prompt: str, k: int, seed: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The rows without passages and those with distractors, of the same questions; what makes no pair is left out."""
    pairs = []
    for item in items:
        if not item.golden:
            continue
        answered = Answered(
            question=Question(item.question, number=1, golden=item.golden[0], side="training"),
            found=item.found,
            shown=item.golden,
            answer=cite_answer(item.answer, range(1, len(item.golden) + 1)),
            cut=False,
        )
        raft = raft_row(
            answered,
            layout=in_system,
            prompt=prompt,
            k=k,
            without_golden=WITHOUT_GOLDEN,
            threshold=GROUNDED,
            seed=seed,
        )
        if not isinstance(raft, Rejection):
            pairs.append((plain_row(answered, layout=in_system, prompt=prompt), raft))
    return tuple(plain for plain, _ in pairs), tuple(raft for _, raft in pairs)


def without_evidence(answer: str) -> str:
    """An answer without the quoted lines that stand before it; empty where it was cut among them."""
    lines = answer.strip().splitlines()
    return "\n".join(line for line in lines if not _EVIDENCE.match(line)).strip()
