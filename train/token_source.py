"""Datasets and a base model's tokenizer: what rows of tokens are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from indexer.errors import InputError
from train.base_model import BaseModelFiles, resolve_base
from train.chat_template import Tokenizer, check_same_text, check_tools_are_rendered, training_template
from train.data.mixing import mixed
from train.data.reading import SourceRows, read_dataset
from train.data.row import Example
from train.data.sources import find_sources
from train.registry.manifest import DatasetRecord
from train.settings import TrainSettings
from train.tokens import TokenRows, encode_examples
from train.types import TokenStatistics

# Rows of the dataset whose rendering is compared with the base model's own template.
_COMPARED_ROWS = 200


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Datasets, and what makes tokens of them.

    Attributes:
        base: The base model.
        tokenizer: Its tokenizer.
        template: The chat template that marks what is learned.
        examples: The rows of an epoch.
        record: What the manifest says about them.
    """

    base: BaseModelFiles
    tokenizer: Tokenizer
    template: str
    examples: list[Example]
    record: DatasetRecord

    def encode(self, examples: Sequence[Example], *, max_length: int) -> tuple[TokenRows, TokenStatistics]:
        """Make tokens of rows; see `encode_examples`."""
        return encode_examples(examples, tokenizer=self.tokenizer, template=self.template, max_length=max_length)


def open_tokens(datasets: Sequence[str], *, settings: TrainSettings) -> TokenSource:
    """Read datasets and the base model's tokenizer, and see that its template renders the rows as they will be served.

    Raises:
        InputError: Bad rows, or a chat template that cannot be marked or leaves out what rows say of tools.
        NotFoundError: A dataset or the base model does not exist.
    """
    sources = read_dataset(find_sources(datasets))
    examples = _epoch(sources, seed=settings.seed)
    base = resolve_base(settings.base_model, models_dir=settings.models_dir)
    tokenizer = _load_tokenizer(base.path)
    template = training_template(tokenizer, given=_given_template(settings), base_name=base.name)
    compared = examples[:_COMPARED_ROWS]
    check_same_text(tokenizer, template, ((example.as_dicts(), [*example.tools]) for example in compared))
    check_tools_are_rendered(tokenizer, template, examples)
    return TokenSource(base, tokenizer, template, examples, _record(sources, rows=len(examples)))


def count_tokens(datasets: Sequence[str], *, settings: TrainSettings) -> TokenStatistics:
    """Count what training on datasets would read and learn; raises as `open_tokens` does."""
    source = open_tokens(datasets, settings=settings)
    _, statistics = source.encode(source.examples, max_length=settings.max_length)
    return statistics


def _given_template(settings: TrainSettings) -> str | None:
    if settings.chat_template is None:
        return None
    try:
        return settings.chat_template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The chat template {settings.chat_template} cannot be read: {error}.") from error


def _load_tokenizer(folder: Path) -> Tokenizer:
    from transformers import AutoTokenizer

    return cast(Tokenizer, AutoTokenizer.from_pretrained(folder, local_files_only=True))


def _epoch(sources: tuple[SourceRows, ...], *, seed: int) -> list[Example]:
    places = mixed([len(each.examples) for each in sources], [each.source.weight for each in sources], seed=seed)
    if not places:
        raise InputError("The weights leave no row of the datasets; raise one.")
    return [sources[source].examples[row] for source, row in places]


def _record(sources: tuple[SourceRows, ...], *, rows: int) -> DatasetRecord:
    """One file's own hash; of several, or of one with a weight, a hash over theirs."""
    shown = [f"{each.source.place}={each.source.weight:g}" for each in sources]
    first, *others = sources
    if not others and first.source.weight == 1.0:
        return DatasetRecord(uri=first.source.place, sha256=first.sha256, rows=rows)
    lines = "".join(f"{each.sha256} {each.source.weight!r}\n" for each in sources)
    return DatasetRecord(uri=" ".join(shown), sha256=hashlib.sha256(lines.encode()).hexdigest(), rows=rows)
