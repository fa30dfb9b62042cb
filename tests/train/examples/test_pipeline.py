"""Rows from a small corpus, by an endpoint that is real but for the model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from indexer.errors import ConflictError, InputError, UnavailableError
from tests.train.examples.making import SmallCorpus, SmallEndpoint, layout, lines, request, small_corpus
from train.data.leakage import find_leaks
from train.data.reading import read_source
from train.data.sources import Source
from train.examples.pipeline import Progress, write_examples
from train.examples.report import ExamplesReport
from train.examples.request import ExamplesRequest, Raft
from train.wording import REFUSAL


def write(
    asked: ExamplesRequest, endpoint: SmallEndpoint, *, corpus: SmallCorpus | None = None, **changes: object
) -> ExamplesReport:
    return write_examples(
        asked,
        corpus=corpus or small_corpus(),
        teacher=endpoint.teacher(asked, **changes),
        layout=layout,
        progress=lambda progress: None,
    )


def test_rows_have_questions_answers_and_what_they_were_made_from(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    report = write(request(tmp_path, prompt="You know the harbour."), endpoint)
    rows = [*lines(tmp_path / "rows.jsonl"), *lines(tmp_path / "rows.eval.jsonl")]
    assert len(rows) == 24
    assert report.reasons == {"points at its passage": 24}
    row = next(row for row in rows if row["golden"] == "3-0")
    assert row == {
        "messages": [
            {"role": "system", "content": "You know the harbour."},
            {"role": "user", "content": "How long is the hawser of mooringad?"},
            {"role": "assistant", "content": "The hawser of mooringad is 130 metres long."},
        ],
        "documents": ["d3.md"],
        "chunks": ["3-0"],
        "golden": "3-0",
        "collection": "harbour",
        "generation": 3,
        "kind": "closed",
    }


@pytest.mark.parametrize("raft", [None, Raft()])
def test_no_document_is_on_both_sides(tmp_path: Path, endpoint: SmallEndpoint, raft: Raft | None) -> None:
    report = write(request(tmp_path, raft=raft), endpoint)
    training, evaluation = (read_source(Source(str(tmp_path / name))) for name in ("rows.jsonl", "rows.eval.jsonl"))
    assert (training.bad, evaluation.bad) == ((), ())
    assert len(training.examples) >= 10
    assert len(evaluation.examples) >= 4
    assert all(example.documents for example in (*training.examples, *evaluation.examples))
    assert find_leaks(training.examples, evaluation.examples) == []
    assert (len(report.training), len(report.evaluation)) == (len(training.examples), len(evaluation.examples))


def test_a_raft_row_shows_its_chunk_among_distractors_and_quotes_it(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    write(request(tmp_path, raft=Raft(0.4)), endpoint)
    rows = [*lines(tmp_path / "rows.jsonl"), *lines(tmp_path / "rows.eval.jsonl")]
    assert Counter(row["kind"] for row in rows).keys() == {"golden", "absent"}
    texts = {each.chunk_id: each.text for each in small_corpus().passages}
    for row in rows:
        [system, user, answer] = row["messages"]  # type: ignore[misc]
        shown, golden = row["chunks"], row["golden"]
        assert isinstance(shown, list)
        assert system["content"] == "\n\n".join(f"[{n}] {texts[chunk]}" for n, chunk in enumerate(shown, start=1))
        assert len(shown) == 4
        if row["kind"] == "absent":
            assert golden not in shown
            assert answer["content"] == REFUSAL
        else:
            number = shown.index(golden) + 1
            sentence = texts[str(golden)].split(". ")[0] + "."
            assert answer["content"] == f'[{number}] "{sentence}"\n\n{sentence[:-1]} [{number}].'
        assert user["content"].startswith("How long is")


def test_interrupted_it_goes_on_and_asks_nothing_twice(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    asked = request(tmp_path, closed_book=0.6)
    endpoint.failures = iter([*[None] * 40, *[500] * 3])
    with pytest.raises(UnavailableError, match=r"3 requests to .* failed in a row.*Told to answer 500; 40 answers"):
        write(asked, endpoint, give_up_after=3, concurrency=1)
    assert not asked.out.exists()
    with asked.journal.open("ab") as journal:
        journal.write(b'{"stage": "answer", "chu')  # A line that a crash cut short.
    report = write(asked, endpoint, concurrency=1)
    sent = [json.dumps(body, sort_keys=True) for body in endpoint.asked]
    assert len(sent) == len(set(sent)) == 24 + 24 + 24
    assert sum(cost.remembered for cost in report.costs.values()) == 40
    tries, written = endpoint.tries, asked.out.read_bytes()
    again = write(asked, endpoint)
    assert endpoint.tries == tries
    assert asked.out.read_bytes() == written
    assert again.training == report.training

    fresh = tmp_path / "fresh"
    fresh.mkdir()
    write(request(fresh, closed_book=0.6), endpoint)
    assert (fresh / "rows.jsonl").read_bytes() == written


def test_tokens_are_counted_by_stage(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    asked = request(tmp_path)
    first = write(asked, endpoint)
    for stage in ("questions", "answer"):
        cost = first.costs[stage]
        assert (cost.requests, cost.prompt_tokens, cost.completion_tokens) == (24, 24 * 11, 24 * 7)
        assert (cost.remembered, cost.uncounted) == (0, 0)
    assert first.costs["closed_book"].requests == 0
    endpoint.usage = None
    second = write(request(tmp_path, closed_book=0.6), endpoint)
    cost = second.costs["answer"]
    assert (cost.requests, cost.prompt_tokens) == (0, 0)
    assert (cost.remembered, cost.remembered_prompt_tokens) == (24, 24 * 11)
    assert second.costs["closed_book"].uncounted == 24
    assert second.to_json()["costs"]["answer"]["remembered_completion_tokens"] == 24 * 7  # type: ignore[index, call-overload]


def test_single_failures_leave_out_a_chunk_and_are_asked_again(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    endpoint.failures = iter([None, "malformed", None, "null", None, "empty", None, 500])
    report = write(request(tmp_path), endpoint, concurrency=1)
    assert report.failures == 4
    assert "Told to answer 500" in report.last_failure
    assert report.costs["questions"].failed == 4
    assert len(report.training) + len(report.evaluation) == 20
    again = write(request(tmp_path), endpoint)
    assert (again.failures, again.costs["questions"].requests, again.costs["answer"].requests) == (0, 4, 4)
    assert len(again.training) + len(again.evaluation) == 24


def test_what_the_model_knows_without_passages_is_left_out(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    def knowing(messages: list[dict[str, str]]) -> str:
        if "mooringaa" in messages[-1]["content"] and len(messages[0]["content"]) < 150:
            return "It is 100 metres long, the hawser of mooringaa."
        return wise_answer(messages)

    wise_answer = endpoint.answering
    endpoint.answering = knowing
    report = write(request(tmp_path, closed_book=0.6), endpoint)
    known = [each for each in report.rejected if each.reason == "known without passages"]
    assert [each.chunk_id for each in known] == ["0-0"]
    assert write(request(tmp_path), endpoint).reasons.get("known without passages") is None


def test_equal_questions_are_asked_once(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    wise_answer = endpoint.answering

    def repeating(messages: list[dict[str, str]]) -> str:
        return wise_answer(messages) + "\nWho keeps the record of the ropes?"

    endpoint.answering = repeating
    report = write(request(tmp_path, questions_per_chunk=3), endpoint)
    assert report.reasons["equal question"] == 23


def test_an_answer_that_was_made_up_or_cut_teaches_nothing(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    wise_answer = endpoint.answering

    def inventing(messages: list[dict[str, str]]) -> str:
        return wise_answer(messages).replace("130 metres", "131 metres")

    endpoint.answering = inventing
    report = write(request(tmp_path), endpoint)
    [rejection] = [each for each in report.rejected if each.reason == "ungrounded"]
    assert (rejection.chunk_id, rejection.detail) == ("3-0", "1.00 of its words; not there: 131")
    endpoint.finish = "length"
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InputError, match=r"No training row is left of 24 chunks .*24 cut"):
        write(request(other), endpoint)
    assert not (other / "rows.jsonl").exists()
    assert not (other / "rows.eval.jsonl").exists()


def test_a_collection_that_is_replaced_meanwhile_ends_the_run(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    class Replaced(SmallCorpus):
        def search(self, queries, *, k):  # type: ignore[no-untyped-def]
            raise ConflictError("Replaced.")

    with pytest.raises(ConflictError):
        write(request(tmp_path), endpoint, corpus=Replaced(small_corpus().passages))
    assert not (tmp_path / "rows.jsonl").exists()


def test_progress_is_told(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    told: list[Progress] = []
    asked = request(tmp_path)
    write_examples(asked, corpus=small_corpus(), teacher=endpoint.teacher(asked), layout=layout, progress=told.append)
    assert Progress("questions", 24, 24) in told
    assert Progress("answers", 24, 24) in told
