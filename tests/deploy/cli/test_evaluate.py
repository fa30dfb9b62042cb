"""`graftwork collections evaluate`: its words, its refusals, and the command over a collection in milvus-lite."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.cli.evaluate import verdict
from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EMBEDDED_NAME
from indexer.evaluation.bootstrap import Estimate
from indexer.evaluation.evaluate import BM25, DENSE, Arm, Evaluation, Weights
from indexer.evaluation.measures import MEASURES
from indexer.evaluation.questions import Split
from indexer.rerank.mixing import Rerank
from indexer.store.milvus import MilvusStore
from tests.deploy.cli.test_main import run, settings_file
from tests.indexer.conftest import free_port, start_milvus, wait_until_listening
from tests.indexer.making import chunk
from tests.models import build_word_matcher

MIXED = Weights(dense=0.7, section=0.8)
TEXTS = {
    "Bees pollinate apple trees in spring.": "Which insects fertilise fruit blossom?",
    "The pump P-117 needs oil every forty hours.": "When is P-117 lubricated?",
    "Sheep are shorn before the lambing season.": "When do ewes lose their wool?",
}


def evaluation(*, hybrid: Estimate, advised: Weights, split: Split = "test") -> Evaluation:
    zero = Estimate(value=0.0, low=0.0, high=0.0, n=9)
    arms = (
        Arm(name="dense", weights=DENSE, figures=(), against_dense=zero),
        Arm(name="BM25", weights=BM25, figures=(), against_dense=zero),
        Arm(name="hybrid, sections", weights=MIXED, figures=(), against_dense=hybrid),
    )
    return Evaluation(collection="c", generation=1, split=split, chosen_on=4, arms=arms, advised=advised)


def test_a_hybrid_beyond_chance_is_to_be_written() -> None:
    found = evaluation(hybrid=Estimate(value=0.06, low=0.034, high=0.086, n=9), advised=MIXED)
    assert verdict(found) == (
        "Hybrid, sections (dense_weight 0.7, section_weight 0.8) against dense alone: +0.060 nDCG@10 "
        "(+0.034 to +0.086), better, and not by chance. "
        'Write into a specialist: "retrieval": {"dense_weight": 0.7, "section_weight": 0.8}.'
    )


@pytest.mark.parametrize(
    ("low", "words", "advice"),
    [
        (0.01, "better, and not by chance", ', "rerank": {"by": "model", "depth": 20, "weight": 0.6}}.'),
        (-0.01, "no better than chance", '{"dense_weight": 0.7, "section_weight": 0.8}.'),
    ],
)
def test_a_reranker_is_told_with_its_price(low: float, words: str, advice: str) -> None:
    better = Estimate(value=0.06, low=0.034, high=0.086, n=9)
    found = evaluation(hybrid=better, advised=MIXED)
    again = replace(MIXED, rerank=Rerank(by="model", depth=20, weight=0.6))
    arm = Arm(
        name="hybrid, sections, rerank by model",
        weights=again,
        figures=(),
        against_dense=better,
        against_first=Estimate(value=0.03, low=low, high=0.05, n=9),
        rerank_ms=411.7,
    )
    said = verdict(replace(found, arms=(*found.arms, arm), advised=again if low > 0 else MIXED))
    assert (
        "Hybrid, sections, rerank by model (dense_weight 0.7, section_weight 0.8, rerank depth 20 weight 0.6) against "
        f"the same without reranking: +0.030 nDCG@10 ({low:+.3f} to +0.050), {words}, at 412 ms more per question here."
    ) in said
    assert said.count("against dense alone") == 1
    assert said.endswith(advice)


@pytest.mark.parametrize(
    ("estimate", "judgement"),
    [
        (Estimate(value=0.01, low=-0.01, high=0.03, n=9), "no better than chance"),
        (Estimate(value=-0.05, low=-0.08, high=-0.02, n=9), "worse, and not by chance"),
    ],
)
def test_else_dense_alone_is(estimate: Estimate, judgement: str) -> None:
    words = verdict(evaluation(hybrid=estimate, advised=DENSE))
    assert judgement in words
    assert '"retrieval": {"dense_weight": 1.0, "section_weight": 0.0}' in words


def test_figures_over_dev_are_called_flattered() -> None:
    estimate = Estimate(value=0.06, low=0.034, high=0.086, n=9)
    assert "flatters" in verdict(evaluation(hybrid=estimate, advised=MIXED, split="dev"))
    assert "flatters" not in verdict(evaluation(hybrid=estimate, advised=MIXED))


def test_a_bad_line_is_named_before_anything_is_started(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "Why?", "gold": ["a"]}\n{"question": "Why?"}\n')
    done = run(
        tmp_path, "--config", settings_file(tmp_path), "collections", "evaluate", "none", "--questions", str(path)
    )
    assert done.returncode == 2
    assert "line 2: gold: Field required" in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_collection_is_evaluated(tmp_path: Path) -> None:
    port = free_port()
    matcher = build_word_matcher(tmp_path / "matcher", ["wool", "fruit"])
    config = settings_file(tmp_path, indexer={"milvus_uri": f"http://127.0.0.1:{port}", "reranker": str(matcher)})
    questions = fill(tmp_path / "home" / "milvus", port, tmp_path / "questions.jsonl")
    command = ("--config", config, "collections", "evaluate", "farm", "--questions", str(questions))
    done = run(tmp_path, *command, "--rerank", "--json", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    plain = ["dense", "BM25", "hybrid", "hybrid, sections"]
    assert [arm["name"] for arm in found["arms"]] == [*plain, "dense, rerank by maxsim", "dense, rerank by model"]
    assert [figure["measure"] for figure in found["arms"][0]["figures"]] == [*MEASURES]
    assert found["arms"][0]["figures"][0]["estimate"]["value"] == 1.0
    assert (found["split"], found["chosen_on"], found["arms"][0]["against_dense"]["n"]) == ("test", 3, 3)
    assert found["advised"] == {"dense": 1.0, "section": 0.0, "rerank": None}
    assert found["arms"][4]["rerank_ms"] > 0
    shown = run(tmp_path, *command, "--split", "dev", "--save", HF_HUB_OFFLINE="1")
    assert shown.returncode == 0, shown.stderr
    assert all(measure in shown.stdout for measure in MEASURES)
    assert "rerank by" not in shown.stdout
    assert found["verdict"].split(". ")[-1] in shown.stdout.replace("\n", " ")
    assert "Kept with farm generation 1" in shown.stdout
    kept = run(tmp_path, "--config", config, "collections", "show", "farm", "--json")
    assert json.loads(kept.stdout)["generations"][0]["advised"] == {"dense": 1.0, "section": 0.0}


def fill(data: Path, port: int, questions: Path) -> Path:
    """Write the collection `farm` and its questions; the server that took it is stopped again."""
    embedder = Embedder(EMBEDDED_NAME)
    data.mkdir(parents=True)
    process = start_milvus(data, port)
    try:
        uri = f"http://127.0.0.1:{port}"
        wait_until_listening(uri, timeout_s=60)
        store = MilvusStore(uri, timeout_s=60)
        made = store.ensure_generation("farm", embedder=embedder.identity, dimension=embedder.dimension)
        chunks = [chunk(text, ordinal=number, search_text=text, tenant="default") for number, text in enumerate(TEXTS)]
        store.upsert(made.physical, chunks, embedder.encode_documents([*TEXTS]), tenant="default")
        store.flush(made.physical)
        store.point_alias("farm", made.physical)
        store.close()
    finally:
        process.terminate()
        process.wait(timeout=20)
    gold = {question: each.chunk_id for question, each in zip(TEXTS.values(), chunks, strict=True)}
    lines = [{"question": q, "gold": [key], "split": split} for q, key in gold.items() for split in ("dev", "test")]
    questions.write_text("\n".join(json.dumps(line) for line in lines))
    return questions
