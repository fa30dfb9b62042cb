"""graftwork collections evaluate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from deploy.settings import Settings
    from indexer.evaluation.bootstrap import Estimate
    from indexer.evaluation.evaluate import Arm, Evaluation
    from indexer.evaluation.questions import Question


class SplitName(StrEnum):
    """The splits of a file of questions, as the command line spells them."""

    DEV = "dev"
    TEST = "test"


def register(app: typer.Typer) -> None:
    """Adds the verb to the group `collections`."""
    app.command()(evaluate)


def evaluate(
    context: typer.Context,
    collection: Annotated[str, typer.Argument(metavar="C", help="Alias of the collection.")],
    questions: Annotated[
        Path,
        typer.Option(
            metavar="F",
            help='JSON lines {"question": Q, "gold": [...]}, and "split": dev or test if you like; gold are ids of '
            'documents or chunks, or {"document": ID, "heading": H}.',
        ),
    ],
    split: Annotated[SplitName, typer.Option(help="Questions the figures are over; weights come from dev.")] = (
        SplitName.TEST
    ),
    tenant: Annotated[str | None, typer.Option(help="Whose documents [the setting default_tenant].")] = None,
    rerank: Annotated[
        bool,
        typer.Option(
            "--rerank",
            help="Also try rerankers, 50 passages a question: the embedder's words, and indexer.reranker if it is set.",
        ),
    ] = False,
    save: Annotated[
        bool,
        typer.Option(
            "--save",
            help="Keep the advised weights with this generation, for specialists and searches that name none.",
        ),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Measure dense, BM25 and hybrid search with questions of your own, and say which weights to use."""
    settings = cli_context(context).load().settings
    from indexer.evaluation.questions import read_questions

    path = questions.expanduser().absolute()
    asked = read_questions(path)
    with quiet_stdout(json_output):
        found = _evaluate(
            asked,
            path=path,
            collection=collection,
            split=split,
            tenant=tenant,
            rerank=rerank,
            save=save,
            settings=settings,
        )
    if json_output:
        print_json({**asdict(found), "saved": save, "verdict": verdict(found)})
        return
    _print(found)
    if save:
        kept = f"Kept with {found.collection} generation {found.generation}: its weights count where none are named."
        results().print(kept, markup=False)


def verdict(found: Evaluation) -> str:
    """What the figures say, in words, and what to write into a specialist."""
    from indexer.evaluation.evaluate import DENSE
    from indexer.evaluation.measures import NDCG

    sentences = [
        f"{_words(arm)} against dense alone: {arm.against_dense.value:+.3f} {NDCG} "
        f"({_interval(arm.against_dense, signed=True)}), {_judgement(arm.against_dense)}."
        for arm in found.arms[2:]
        if arm.against_first is None
    ]
    if replace(found.advised, rerank=None) == DENSE:
        sentences.append("No hybrid is better than dense alone beyond chance.")
    sentences += [
        f"{_words(arm)} against the same without reranking: {arm.against_first.value:+.3f} {NDCG} "
        f"({_interval(arm.against_first, signed=True)}), {_judgement(arm.against_first)}, at {arm.rerank_ms:.0f} ms "
        "more per question here."
        for arm in found.arms
        if arm.against_first is not None
    ]
    retrieval: dict[str, object] = {"dense_weight": found.advised.dense, "section_weight": found.advised.section}
    if found.advised.rerank is not None:
        retrieval["rerank"] = asdict(found.advised.rerank)
    sentences.append(f'Write into a specialist: "retrieval": {json.dumps(retrieval)}.')
    if found.split == "dev":
        sentences.append(
            "Weights were chosen on these same questions, which flatters them: judge them with --split test."
        )
    return " ".join(sentences)


def _evaluate(
    asked: Sequence[tuple[int, Question]],
    *,
    path: Path,
    collection: str,
    split: SplitName,
    tenant: str | None,
    rerank: bool,
    save: bool,
    settings: Settings,
) -> Evaluation:
    from deploy.local.runtime import runtime

    tenant = tenant or settings.indexer.default_tenant
    with notes().status("reaching Milvus") as status, runtime(settings, need_ray=False) as found:
        from indexer.evaluation.evaluate import evaluate as run
        from indexer.evaluation.keeping import keep_advice
        from indexer.evaluation.questions import judge
        from indexer.search import open_searcher, open_store

        store = open_store(found.indexer)
        made = store.locate(collection)
        status.update("finding what the questions name")
        judged = judge(asked, store.places(made.physical, tenant=tenant), path=path, collection=collection)
        status.update("loading the models")
        searcher = open_searcher(found.indexer, cross_encoder=rerank, store=store)
        evaluation = run(
            judged,
            searcher=searcher,
            collection=collection,
            tenant=tenant,
            split=split.value,
            rerankers=tuple(searcher.rerankers) if rerank else (),
            progress=lambda done: status.update(f"asked {done} of {len(judged)} questions"),
            reranking=lambda done: status.update(f"ordered the passages of {done} questions anew"),
        )
        if save:
            keep_advice(store, evaluation)
        return evaluation


def _judgement(difference: Estimate) -> str:
    if not difference.excludes_zero:
        return "no better than chance"
    return "better, and not by chance" if difference.value > 0 else "worse, and not by chance"


def _words(arm: Arm) -> str:
    section = f", section_weight {arm.weights.section:g}" if arm.weights.section else ""
    rerank = arm.weights.rerank
    again = f", rerank depth {rerank.depth} weight {rerank.weight:g}" if rerank else ""
    name = arm.name[:1].upper() + arm.name[1:]
    return f"{name} (dense_weight {arm.weights.dense:g}{section}{again})"


def _interval(estimate: Estimate, *, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    return f"{estimate.low:{form}} to {estimate.high:{form}}"


def _print(found: Evaluation) -> None:
    from rich.table import Table

    output = results()
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for arm in found.arms:
        table.add_column(arm.name)
    for row, figure in enumerate(found.arms[0].figures):
        cells = [arm.figures[row].estimate for arm in found.arms]
        table.add_row(figure.measure, *(f"{cell.value:.3f} [dim]{_interval(cell)}[/]" for cell in cells))
    output.print(table)
    output.print(
        f"{found.collection} generation {found.generation}: {found.arms[0].against_dense.n} questions of the split "
        f"{found.split}, weights chosen on {found.chosen_on} of dev; intervals: 95%, bootstrap over questions",
        style="dim",
    )
    output.print(verdict(found), markup=False)
