"""Adapters against their base, and rows with distractors (RAFT) against plain rows, on questions that none has seen.

RAFT (arXiv 2403.10131, table 1) says that an adapter of plain question and answer rows can be worse with retrieval than
without (on HuggingFace's API 42.6 after 61.1), and that rows with distractors mend that. Two domains: the demo's, and
Perl's FAQ. Both kinds of rows are made of the same questions and read as often; all arms get the same passages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from deploy.demo import recipe
from deploy.local.api import api_key
from deploy.local.instance import up
from deploy.local.ports import in_url, pick_free
from deploy.local.runtime import runtime
from deploy.local.shutdown import down
from deploy.settings import LoadedSettings, Settings, load_settings
from indexer.evaluation.bootstrap import Estimate, estimate
from indexer.passages import Passage
from tests.benchmarks.raft_items import Item, demo_items, perl_items, rows_of, without_evidence
from tests.indexer.parsers.test_pod import NEEDS_PERL_DOC, PERL_DOC
from train.wording import is_refusal, token_f1

pytestmark = [pytest.mark.bench, NEEDS_PERL_DOC, pytest.mark.timeout(5400)]

EPOCHS = 2
ASKED = 48
MAX_TOKENS = 128
CONCURRENCY = 4
PROMPTS = {"demo": recipe.PROMPT, "perl": "You answer questions about Perl. Answer with one short sentence."}
ARMS = (
    ("base", None, False),
    ("base", None, True),
    ("plain", "plain", False),
    ("plain", "plain", True),
    ("RAFT", "raft", False),
    ("RAFT", "raft", True),
)
DIFFERENCES = (
    ("plain - base, no retrieval", ("plain", False), ("base", False)),
    ("RAFT - base, both with retrieval", ("RAFT", True), ("base", True)),
    ("plain with retrieval - plain without", ("plain", True), ("plain", False)),
    ("RAFT - plain, both with retrieval", ("RAFT", True), ("plain", True)),
)


@dataclass(frozen=True, slots=True)
class Learnt:
    """A domain's questions that are asked."""

    domain: str
    held_out: tuple[Item, ...]


def settings_below(folder: Path) -> Settings:
    user = load_settings(home=folder).settings
    milvus, serve = pick_free(2, taken=[])
    settings = recipe.demo_settings(user, ports=recipe.DemoPorts(milvus=milvus, serve=serve))
    return settings.model_copy(
        update={
            "train": settings.train.model_copy(update={"epochs": EPOCHS}),
            "serve": settings.serve.model_copy(update={"max_adapters": 4}),
        }
    )


def learn(settings: Settings, folder: Path) -> list[Learnt]:
    """Index both domains, write their rows and train two adapters on each."""
    from indexer.run.pipeline import run_index
    from indexer.search import open_searcher
    from train.registry.registry import AdapterRegistry
    from train.run import TrainRequest, run_training

    sources = {"demo": [recipe.CORPUS], "perl": sorted(PERL_DOC[0].glob("perlfaq[1-9].pod"))}
    learnt: list[Learnt] = []
    with runtime(settings) as found:
        tenant = found.indexer.default_tenant
        for domain, paths in sources.items():
            report = run_index(
                paths, collection=domain, tenant=tenant, settings=found.indexer, progress=lambda _: None, sync=True
            )
            assert not report.failures
        searcher = open_searcher(found.indexer, cross_encoder=False)
        for domain, made in (("demo", demo_items), ("perl", perl_items)):

            def search(questions: Sequence[str], *, domain: str = domain) -> list[tuple[Passage, ...]]:
                results = searcher.search(
                    questions,
                    collection=domain,
                    tenant=tenant,
                    k=recipe.WIDE_K,
                    dense_weight=recipe.RETRIEVAL.dense_weight,
                )
                return [result.passages for result in results]

            items = made(search)
            rows = rows_of(
                [item for item in items if not item.held_out],
                prompt=PROMPTS[domain],
                k=recipe.RETRIEVAL.k,
                seed=recipe.SEED,
            )
            for kind, of_kind in zip(("plain", "raft"), rows, strict=True):
                path = folder / f"{domain}-{kind}.jsonl"
                path.write_text("".join(json.dumps({"messages": list(row.messages)}) + "\n" for row in of_kind))
                result = run_training(
                    TrainRequest(datasets=(str(path),), name=f"{domain}-{kind}"),
                    settings=settings.train,
                    registry=AdapterRegistry(settings.train.registry),
                )
                print(
                    f"{domain}-{kind}: {len(of_kind)} rows, {result.tokens} tokens, {result.steps} steps, "
                    f"{result.train_seconds:.0f} s, loss {result.first_loss:.2f} to {result.final_loss:.2f}",
                    flush=True,
                )
            held_out = [item for item in items if item.held_out]
            step = max(1.0, len(held_out) / ASKED)
            asked = tuple(held_out[int(number * step)] for number in range(min(ASKED, len(held_out))))
            learnt.append(Learnt(domain, asked))
    return learnt


def specialist_name(domain: str, adapter: str | None, retrieval: bool) -> str:
    return f"{domain}-{adapter or 'base'}{'-retrieval' if retrieval else '-alone'}"


def apply_specialists(settings: Settings) -> None:
    from train.registry.applying import write_specialist
    from train.registry.registry import AdapterRegistry

    registry = AdapterRegistry(settings.train.registry)
    for domain, prompt in PROMPTS.items():
        for _, adapter, retrieval in ARMS:
            name = specialist_name(domain, adapter, retrieval)
            document = {
                "name": name,
                "prompt": prompt,
                "adapter": f"{domain}-{adapter}@stable" if adapter else None,
                "collection": domain if retrieval else None,
                "retrieval": recipe.RETRIEVAL.model_dump(mode="json"),
                "generation_defaults": {"temperature": 0, "max_tokens": MAX_TOKENS},
            }
            kept = {key: value for key, value in document.items() if value is not None}
            write_specialist(name, json.dumps(kept).encode(), registry=registry)


async def ask(url: str, asked: Sequence[tuple[str, str]]) -> list[str]:
    """The answers to pairs of a specialist and a question."""
    places = asyncio.Semaphore(CONCURRENCY)

    async with openai.AsyncOpenAI(base_url=url, api_key=api_key(), timeout=300) as client:

        async def one(model: str, question: str) -> str:
            async with places:
                done = await client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=MAX_TOKENS
                )
            return done.choices[0].message.content or ""

        return await asyncio.gather(*(one(model, question) for model, question in asked))


def shown(found: Estimate | None) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]" if found else "-"


def test_adapters_with_and_without_distractors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_below(tmp_path)
    with capsys.disabled():
        print()
        learnt = learn(settings, tmp_path)
    apply_specialists(settings)
    try:
        up(LoadedSettings(settings, None, {}), progress=lambda _: None)
        url = f"http://{in_url(settings.serve.host)}:{settings.serve.port}/v1"
        answers = {
            (each.domain, label, retrieval): asyncio.run(
                ask(
                    url,
                    [(specialist_name(each.domain, adapter, retrieval), item.question) for item in each.held_out],
                )
            )
            for each in learnt
            for label, adapter, retrieval in ARMS
        }
    finally:
        down(settings, progress=lambda _: None)
    (tmp_path / "answers.json").write_text(json.dumps([[*key, value] for key, value in answers.items()]))
    with capsys.disabled():
        for each in learnt:
            report(each, answers)
    assert all(
        len(answers[each.domain, label, retrieval]) == len(each.held_out)
        for each in learnt
        for label, _, retrieval in ARMS
    )


def report(learnt: Learnt, answers: dict[tuple[str, str, bool], list[str]]) -> None:
    """Print both tables of a domain."""
    scores: dict[tuple[str, bool], list[float]] = {}
    found = sum(bool(item.golden) for item in learnt.held_out)
    print(f"\n{learnt.domain}: {len(learnt.held_out)} held-out questions")
    print(f"the search's best {recipe.WIDE_K} hold the answer of {found}")
    print("| arm | retrieval | token F1 | refused | words |\n|---|---|---|---|---|")
    for label, _, retrieval in ARMS:
        given = answers[learnt.domain, label, retrieval]
        finals = [without_evidence(text) for text in given]
        scores[label, retrieval] = [
            token_f1(final, item.answer) for final, item in zip(finals, learnt.held_out, strict=True)
        ]
        refused = estimate([float(is_refusal(text)) for text in given])
        length = sum(len(text.split()) for text in finals) / len(finals)
        cells = (label, "yes" if retrieval else "no", shown(estimate(scores[label, retrieval])), shown(refused))
        print(f"| {' | '.join(cells)} | {length:.0f} |")
    print("| difference of F1, question by question | |\n|---|---|")
    for name, more, less in DIFFERENCES:
        pairs = zip(scores[more], scores[less], strict=True)
        print(f"| {name} | {shown(estimate([a - b for a, b in pairs]))} |")
