"""Citations and refusals of the demo's four arms on documents that nobody here wrote: Perl's FAQ.

The demo runs first and stays up: its adapter learnt to cite and to refuse on another corpus. A source is a section of
the FAQ, so that a citation of the right page and the wrong question is wrong. Unanswerable are questions of the demo's
own corpus, of which Perl's FAQ says nothing.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from deploy.demo import recipe, scoring
from deploy.demo.ask import Answer, ask_all
from deploy.demo.questions import Question, choose_test_questions, read_questions
from indexer.evaluation.bootstrap import Estimate, estimate
from tests.indexer.parsers.test_pod import NEEDS_PERL_DOC, PERL_DOC
from tests.perl_faq import faq_questions
from tests.stack import environment
from train.wording import is_refusal

pytestmark = [pytest.mark.bench, NEEDS_PERL_DOC, pytest.mark.timeout(3600)]

ANSWERABLE, UNANSWERABLE = 48, 12
ASKING_S = 1200.0
PROMPT = "You answer questions about Perl. Answer with one short sentence."
ARMS = tuple(arm.name.replace("demo", "perl") for arm in recipe.ARMS)


@dataclass(frozen=True, slots=True)
class Live:
    """The demo's instance with Perl's FAQ beside its own corpus; no URL, which ends in /v1, before it is up."""

    home: Path
    url: str = ""

    def run(self, *arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "graftwork"), "--home", str(self.home), *arguments]
        done = subprocess.run(command, cwd="/", env=environment(self.home), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("perlfaq")
    demo, live = Live(folder / "home"), Live(folder / "home" / recipe.HOME)
    try:
        told = json.loads(demo.run("demo", "--keep", "--json").splitlines()[-1])
        live = Live(live.home, url=str(told["url"]))
        pages = [str(path) for path in sorted(PERL_DOC[0].glob("perlfaq[1-9].pod"))]
        live.run("index", *pages, "--collection", "perlfaq")
        for arm, name in zip(recipe.ARMS, ARMS, strict=True):
            document = {
                "name": name,
                "prompt": PROMPT,
                "adapter": f"{recipe.ADAPTER}@stable" if arm.adapter else None,
                "collection": "perlfaq" if arm.retrieval else None,
                "retrieval": recipe.RETRIEVAL.model_dump(mode="json"),
                "generation_defaults": {"temperature": 0, "max_tokens": recipe.MAX_NEW_TOKENS},
            }
            path = folder / f"{name}.json"
            path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))
            live.run("specialists", "apply", str(path))
        yield live
    finally:
        live.run("down")


def asked_questions() -> tuple[Question, ...]:
    """Headings of the FAQ, evenly spread over its pages, and questions of another corpus."""
    headings = faq_questions(PERL_DOC[0])
    step = len(headings) / ANSWERABLE
    chosen = [headings[int(number * step)] for number in range(ANSWERABLE)]
    ours = [
        Question(
            id=f"perl-{number}",
            question=each.text,
            answer=each.text,
            must_include=(each.text,),
            sources=(f"{each.file}#{each.text}",),
            kind="single",
            split="test",
        )
        for number, each in enumerate(chosen)
    ]
    held_out = [each for each in read_questions(recipe.QUESTIONS) if each.split == "test" and each.answerable]
    strange = choose_test_questions(held_out, limit=UNANSWERABLE, seed=recipe.SEED)
    return (*ours, *(each.model_copy(update={"kind": "unanswerable"}) for each in strange))


def cited_sections(answer: Answer) -> list[str]:
    """Sections that an answer cites, as the questions name them."""
    return [section_of(source.document, source.heading) for source in answer.sources if source.cited]


def section_of(document: str, heading: str) -> str:
    """A section by its page and the last part of its heading's path."""
    return f"{document.rsplit('/', 1)[-1]}#{heading.rsplit(' > ', 1)[-1]}"


def shown(values: Sequence[float | None]) -> str:
    found: Estimate | None = estimate([value for value in values if value is not None])
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]" if found else "-"


def test_citations_and_refusals_on_the_faq(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    questions = asked_questions()

    async def ask() -> tuple[Answer, ...]:
        async with openai.AsyncOpenAI(base_url=live.url, api_key="none", timeout=120) as client:
            return await ask_all(
                client,
                questions,
                specialists=ARMS,
                concurrency=recipe.CONCURRENCY,
                budget_s=ASKING_S,
                progress=lambda _: None,
            )

    answers = asyncio.run(ask())
    table = {(answer.specialist, answer.question_id): answer for answer in answers}
    rows = []
    for name in ARMS:
        pairs = [(each, table[name, each.id]) for each in questions if (name, each.id) in table]
        right = [(each, answer) for each, answer in pairs if each.answerable]
        wrong = [answer for each, answer in pairs if not each.answerable]
        rows.append(
            (
                name,
                str(len(pairs)),
                shown(
                    [float(set(q.sources) <= {section_of(s.document, s.heading) for s in a.sources}) for q, a in right]
                ),
                shown([scoring.citation_precision(cited_sections(a), q.sources) for q, a in right]),
                shown([scoring.citation_recall(cited_sections(a), q.sources) for q, a in right]),
                shown([float(a.invalid_markers > 0) for _, a in pairs]),
                shown([float(is_refusal(a.text)) for a in wrong]),
                shown([float(is_refusal(a.text)) for _, a in right]),
            )
        )
    with capsys.disabled():
        print(f"\n\n{len(questions)} questions, {UNANSWERABLE} of which the FAQ does not answer")
        heads = ("arm", "n", "source found", "precision", "recall", "invalid marker", "refused rightly", "wrongly")
        print(f"| {' | '.join(heads)} |")
        print("|---" * len(heads) + "|")
        for row in rows:
            print(f"| {' | '.join(row)} |")
    assert [answer.error for answer in answers if answer.error] == []
    assert len(answers) == len(ARMS) * len(questions)
