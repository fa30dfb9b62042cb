"""The check of an adapter that was trained elsewhere, on questions that come with Graftwork."""

from __future__ import annotations

from pathlib import Path

from train.base_model import BaseModelFiles
from train.data.reading import read_dataset
from train.data.sources import find_sources
from train.engine.probe import ProbeRows
from train.engine.verdict import EngineCheckError, check_adapter, find_engine
from train.registry.adapter_config import read_adapter_config
from train.registry.manifest import EngineRecord
from train.settings import TrainSettings

_QUESTIONS = Path(__file__).parents[1] / "general.jsonl"
# Rows are short here, some 25 tokens.
_ROWS, _PROMPTS = 16, 4


def check_foreign(folder: Path, *, base: BaseModelFiles, settings: TrainSettings) -> EngineRecord:
    """Load an adapter in PEFT and in the engine, on the initialised Ray cluster; what the manifest says of it.

    Args:
        folder: The adapter.
        base: The base model that it is for.
        settings: Those of training, which say what the cluster is like.

    Raises:
        UnavailableError: The cluster has no engine, or no room for it.
        EngineCheckError: The engine does not load it, or computes something else with it than PEFT.
    """
    engine = find_engine(settings, base=base, rank=read_adapter_config(folder).r)
    verdict = check_adapter(
        folder, engine=engine, base_model=settings.base_model, base=base, rows=_rows(base), settings=settings
    )
    if verdict.record is None or verdict.fault is not None:
        raise EngineCheckError(
            f"The adapter in {folder} is not published: {verdict.fault}; without --engine-check it is published all "
            "the same."
        )
    return verdict.record


def _rows(base: BaseModelFiles) -> ProbeRows:
    """Questions and answers as plain text, which every base model's tokenizer takes, whatever its chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.path, local_files_only=True)
    (source,) = read_dataset(find_sources([str(_QUESTIONS)]))
    texts = [[turn.content for turn in example.turns] for example in source.examples[:_ROWS]]
    return ProbeRows(
        scored=tuple(tuple(tokenizer("\n".join(text))["input_ids"]) for text in texts),
        prompts=tuple(tuple(tokenizer(text[0])["input_ids"]) for text in texts[:_PROMPTS]),
    )
