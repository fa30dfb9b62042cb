"""What is asked of engines, and what comes of it; `test_engine_job.py` has real ones."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from indexer.errors import InputError, UnavailableError
from train.base_model import BaseModelFiles, describe_base
from train.examples import offline as module
from train.examples.costs import Costs
from train.examples.engine_job import EngineAnswer
from train.examples.engines import EnginePlan
from train.examples.journal import Journal, open_journal
from train.examples.offline import OfflineAsker, context_of
from train.examples.request import Offline
from train.examples.teacher import Ask, Books
from train.examples.types import Message

FIELDS = {"max_tokens": 8, "temperature": 0.0}
USER: Message = {"role": "user", "content": "How long is the hawser?"}
SYSTEM: Message = {"role": "system", "content": "You keep the quay."}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with open_journal(tmp_path / "work") as opened:
        yield opened


class Job:
    """In place of engines: says what each prompt is answered with, and keeps what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, errors: Mapping[int, str] | None = None) -> None:
        self.prompts: list[dict[int, list[int]]] = []
        self.arguments: list[dict[str, object]] = []
        self.errors = errors or {}
        monkeypatch.setattr(module, "run_engines", self)
        monkeypatch.setattr(OfflineAsker, "_plan", EnginePlan(2, gpus=1))

    def __call__(
        self, prompts: dict[int, list[int]], *, arguments: dict[str, object], **_: object
    ) -> Iterator[tuple[int, EngineAnswer]]:
        self.prompts.append(prompts)
        self.arguments.append(arguments)
        for place, tokens in reversed(prompts.items()):
            error = self.errors.get(place, "")
            yield place, EngineAnswer(f" answer {place} ", len(tokens), 8 if place == 1 else 3, error)


def asker(base: BaseModelFiles, journal: Journal, costs: Costs | None = None, **changes: object) -> OfflineAsker:
    offline = Offline(base, accelerator="cpu", **changes)  # type: ignore[arg-type]
    return OfflineAsker(offline, books=Books(journal, costs or Costs()), fields=dict(FIELDS))


def asks(count: int) -> list[Ask]:
    return [Ask(f"c{number}", 0, (SYSTEM, {**USER, "content": f"Question {number}?"})) for number in range(count)]


def test_answers_keep_their_places_and_are_counted(
    tiny_base: BaseModelFiles, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, costs, told = Job(monkeypatch), Costs(), []
    replies = asker(tiny_base, journal, costs).ask_all("answer", asks(3), progress=told.append)
    assert [reply and (reply.text, reply.cut) for reply in replies] == [
        ("answer 0", False),
        ("answer 1", True),
        ("answer 2", False),
    ]
    assert told == [0, 1, 2, 3]
    cost = costs.stages["answer"]
    assert (cost.requests, cost.completion_tokens, cost.failed) == (3, 14, 0)
    assert cost.prompt_tokens == sum(map(len, job.prompts[0].values()))
    assert cost.gpu_seconds == cost.engine_seconds
    assert len(journal) == 3


def test_a_prompt_is_what_the_chat_route_would_read(
    tiny_base: BaseModelFiles, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(monkeypatch)
    asker(tiny_base, journal).ask_all("answer", [Ask("c", 1, (SYSTEM, USER))], progress=print)
    [tokens] = job.prompts[0].values()
    tokenizer = AutoTokenizer.from_pretrained(tiny_base.path)
    text = tokenizer.apply_chat_template([SYSTEM, USER], add_generation_prompt=True, tokenize=False)
    assert tokens == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(tokens).endswith("How long is the hawser?<|im_end|>\n<|im_start|>assistant\n")
    assert job.arguments[0]["max_model_len"] == 128


def test_what_the_journal_knows_starts_no_engine(
    tiny_base: BaseModelFiles, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, costs = Job(monkeypatch), Costs()
    first = asker(tiny_base, journal).ask_all("questions", asks(2), progress=print)
    again = asker(tiny_base, journal, costs).ask_all("questions", asks(3), progress=print)
    assert again[:2] == first
    assert [list(prompts) for prompts in job.prompts] == [[0, 1], [2]]
    assert asker(tiny_base, journal, costs).ask_all("questions", asks(3), progress=print) == again
    assert len(job.prompts) == 2
    assert (costs.stages["questions"].remembered, costs.stages["questions"].requests) == (5, 1)


def test_another_model_of_the_same_name_is_asked_anew(
    tiny_base: BaseModelFiles, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(monkeypatch)
    for base in (tiny_base, dataclasses.replace(tiny_base, fingerprint="sha256:other")):
        asker(base, journal).ask_all("questions", asks(1), progress=print)
    assert len(job.prompts) == 2


def test_failed_ones_are_left_out_and_those_in_a_row_end_it(
    tiny_base: BaseModelFiles, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    Job(monkeypatch, errors={0: "ValueError: no.", 2: "ValueError: nor this."})
    costs = Costs()
    few = asker(tiny_base, journal, costs, give_up_after=2)
    assert [reply is None for reply in few.ask_all("answer", asks(4), progress=print)] == [
        True,
        False,
        True,
        False,
    ]
    assert few.last_failure == "ValueError: no"
    assert costs.stages["answer"].failed == 2
    Job(monkeypatch, errors={1: "ValueError: no.", 2: "ValueError: nor this."})
    with pytest.raises(UnavailableError, match=r"2 requests to tiny failed in a row, the last: ValueError: no; 3 answ"):
        asker(tiny_base, journal, give_up_after=2).ask_all("closed_book", asks(4), progress=print)


def test_a_prompt_that_is_too_long_fails_by_itself(
    tiny_base: BaseModelFiles, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(monkeypatch)
    long = Ask("long", 0, ({**USER, "content": "hawser " * 2100},))
    few = asker(tiny_base, journal)
    [none, some] = few.ask_all("answer", [long, *asks(1)], progress=print)
    assert (none, some is not None) == (None, True)
    assert "with --max-tokens 8 more than the 2048 of tiny" in few.last_failure
    assert [list(prompts) for prompts in job.prompts] == [[1]]
    with pytest.raises(UnavailableError, match="more than the 16 of tiny"):
        asker(tiny_base, journal, engine={"max_model_len": 16}).ask_all("questions", asks(9), progress=print)


def test_a_template_that_takes_no_system_message(
    tiny_base: BaseModelFiles, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Job(monkeypatch)
    folder = tmp_path / "strict"
    shutil.copytree(tiny_base.path, folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('System role not supported') }}")
    strict = asker(describe_base(folder, name="strict"), journal)
    with pytest.raises(InputError, match=r"chat template of strict does not take .*System role not supported"):
        strict.ask_all("answer", asks(1), progress=print)


def test_the_context_is_read_from_the_config(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    for text, found in (
        ('{"max_position_embeddings": 2048}', 2048),
        ('{"text_config": {"max_position_embeddings": 512}}', 512),
        ("{}", None),
    ):
        config.write_text(text)
        assert context_of(tmp_path) == found
