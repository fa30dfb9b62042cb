"""From a collection to rows: chunks, questions, passages, answers, what is left out, and two files.

Each stage ends before the next begins, and everything between two requests is decided by seed and content alone, so
that a run that was interrupted asks for what is missing and comes to the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from indexer.errors import InputError
from indexer.passages import Passage
from train.examples.choosing import choose_chunks
from train.examples.costs import Costs
from train.examples.journal import open_journal
from train.examples.judging import judge_answer, judge_closed_book, judge_question
from train.examples.plain import plain_row
from train.examples.prompts import ANSWER_PROMPT, closed_book_messages, questions_messages, read_questions
from train.examples.raft import raft_row, with_golden
from train.examples.repeated import without_repeated
from train.examples.report import ExamplesReport
from train.examples.request import ExamplesRequest
from train.examples.splitting import on_side, side_of
from train.examples.teacher import Ask, Books, Teacher
from train.examples.types import Answered, Corpus, Layout, Question, Rejection, Row
from train.examples.writing import write_rows

_Item = TypeVar("_Item")
_SEARCH_BATCH = 32
# Passages searched for each that is shown: some are of the other side, copies, or of the golden chunk's own section.
_WIDER, _WIDEST = 10, 200


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: its name, what of it is done, and how much there is."""

    stage: str
    done: int
    total: int


def write_examples(
    request: ExamplesRequest,
    *,
    corpus: Corpus,
    teacher: Callable[[Books], Teacher],
    layout: Layout,
    progress: Callable[[Progress], None],
) -> ExamplesReport:
    """Make the rows of a collection and write them.

    Args:
        request: What to write; `request.check_request` has passed it.
        corpus: The collection.
        teacher: Gives what is asked, of the run's journal and costs.
        layout: How passages are shown, to the model that answers and in the rows.
        progress: Told what is done.

    Raises:
        InputError: There is nothing to ask about, no row is left, or the journal is none.
        ConflictError: Another run writes there, or the collection was replaced meanwhile.
        NotFoundError: The endpoint has no such model.
        UnavailableError: The endpoint or the engine cannot be used, or a file cannot be written.
    """
    with open_journal(request.journal) as journal:
        costs = Costs()
        asked = teacher(Books(journal, costs))
        chunks, made = _Work(request, corpus=corpus, teacher=asked, layout=layout, progress=progress).run()
        sides = {side: tuple(row for row in made.rows if row.side == side) for side in ("training", "evaluation")}
        report = ExamplesReport(
            collection=corpus.name,
            generation=corpus.generation,
            chunks=len(chunks),
            documents=len({chunk.document_id for chunk in chunks}),
            training=sides["training"],
            evaluation=sides["evaluation"],
            rejected=tuple(made.rejected),
            costs=dict(costs.stages),
            last_failure=asked.last_failure,
            out=str(request.out),
            eval_out=str(request.eval_out) if request.eval_share else None,
        )
        if not report.training:
            counts = {**report.reasons, "failed requests": report.failures}
            reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count) or "nothing came"
            raise InputError(
                f"No training row is left of {len(chunks)} chunks ({reasons}); "
                "name a better --model, more --chunks, or a lower --grounded. Nothing was written."
            )
        if request.eval_share:
            write_rows(report.evaluation, request.eval_out, collection=corpus.name, generation=corpus.generation)
        write_rows(report.training, request.out, collection=corpus.name, generation=corpus.generation)
        return report


@dataclass(slots=True)
class _Made:
    """Rows, and what was left out."""

    rows: list[Row]
    rejected: list[Rejection]


class _Work:
    """The stages of one run."""

    def __init__(
        self,
        request: ExamplesRequest,
        *,
        corpus: Corpus,
        teacher: Teacher,
        layout: Layout,
        progress: Callable[[Progress], None],
    ) -> None:
        self._request = request
        self._corpus = corpus
        self._teacher = teacher
        self._layout = layout
        self._progress = progress
        self._made = _Made([], [])

    def run(self) -> tuple[tuple[Passage, ...], _Made]:
        request, corpus = self._request, self._corpus
        self._progress(Progress("reading chunks", 0, request.chunks))
        chunks = choose_chunks(corpus.places(), count=request.chunks, seed=request.seed, read=corpus.read)
        if not chunks:
            raise InputError(
                f"Collection {corpus.name!r} has no chunk of this tenant that is long enough to ask about; "
                "see what `graftwork documents list` shows."
            )
        questions, repeated = without_repeated(self._kept(self._questions(chunks), judge_question))
        self._made.rejected += repeated
        answers = self._answers(questions, self._passages(questions))
        answers = self._kept(answers, lambda answered: judge_answer(answered, threshold=request.grounded))
        if request.closed_book is not None:
            answers = self._not_known(answers, threshold=request.closed_book)
        self._made.rows += self._kept_rows(answers)
        return chunks, self._made

    def _questions(self, chunks: Sequence[Passage]) -> list[Question]:
        count = self._request.questions_per_chunk
        asks = [Ask(chunk.chunk_id, 0, questions_messages(chunk, count=count)) for chunk in chunks]
        replies = self._teacher.ask_all("questions", asks, progress=self._told("questions", len(asks)))
        questions: list[Question] = []
        for chunk, reply in zip(chunks, replies, strict=True):
            if reply is None:
                continue
            read = read_questions(reply.text, count=count)
            if not read:
                self._made.rejected.append(Rejection("unreadable questions", chunk.chunk_id, "", reply.text[:80]))
            side = side_of(chunk.document_id, seed=self._request.seed, share=self._request.eval_share)
            questions += [Question(text, number, chunk, side) for number, text in enumerate(read, start=1)]
        return questions

    def _passages(self, questions: Sequence[Question]) -> list[tuple[Passage, ...]]:
        """What is found for each question on its own side, its golden chunk among it, last where it was not found."""
        request = self._request
        found: list[tuple[Passage, ...]] = []
        k = min(_WIDEST, _WIDER * request.passages)
        told = self._told("searching", len(questions))
        for start in range(0, len(questions), _SEARCH_BATCH):
            batch = questions[start : start + _SEARCH_BATCH]
            results = self._corpus.search([question.text for question in batch], k=k)
            for question, passages in zip(batch, results, strict=True):
                ours = on_side(
                    passages, question.side, golden=question.golden, seed=request.seed, share=request.eval_share
                )
                found.append(with_golden(ours, [question.golden], k=k))
            told(len(found))
        return found

    def _answers(self, questions: Sequence[Question], found: Sequence[tuple[Passage, ...]]) -> list[Answered]:
        shown = [
            with_golden(passages, [question.golden], k=self._request.passages)
            for question, passages in zip(questions, found, strict=True)
        ]
        asks = [
            Ask(
                question.golden.chunk_id,
                question.number,
                self._layout(question.text, prompt=ANSWER_PROMPT, passages=passages),
            )
            for question, passages in zip(questions, shown, strict=True)
        ]
        replies = self._teacher.ask_all("answer", asks, progress=self._told("answers", len(asks)))
        return [
            Answered(question, passages, given, reply.text, reply.cut)
            for question, passages, given, reply in zip(questions, found, shown, replies, strict=True)
            if reply is not None
        ]

    def _not_known(self, answers: Sequence[Answered], *, threshold: float) -> list[Answered]:
        """Those that are not answered as well without passages; one that could not be asked about is left out."""
        asks = [
            Ask(
                answered.question.golden.chunk_id,
                answered.question.number,
                closed_book_messages(answered.question.text),
            )
            for answered in answers
        ]
        replies = self._teacher.ask_all("closed_book", asks, progress=self._told("closed book", len(asks)))
        kept: list[Answered] = []
        for answered, reply in zip(answers, replies, strict=True):
            if reply is None:
                continue
            rejection = judge_closed_book(answered, reply.text, threshold=threshold)
            if rejection is None:
                kept.append(answered)
            else:
                self._made.rejected.append(rejection)
        return kept

    def _kept_rows(self, answers: Sequence[Answered]) -> list[Row]:
        request = self._request
        rows: list[Row] = []
        for answered in answers:
            if request.raft is None:
                rows.append(plain_row(answered, layout=self._layout, prompt=request.prompt))
                continue
            made = raft_row(
                answered,
                layout=self._layout,
                prompt=request.prompt,
                k=request.passages,
                without_golden=request.raft.without_golden,
                threshold=request.grounded,
                seed=request.seed,
            )
            if isinstance(made, Rejection):
                self._made.rejected.append(made)
            else:
                rows.append(made)
        return rows

    def _kept(self, items: Sequence[_Item], judge: Callable[[_Item], Rejection | None]) -> list[_Item]:
        kept: list[_Item] = []
        for item in items:
            rejection = judge(item)
            if rejection is None:
                kept.append(item)
            else:
                self._made.rejected.append(rejection)
        return kept

    def _told(self, stage: str, total: int) -> Callable[[int], None]:
        return lambda done: self._progress(Progress(stage, done, total))
