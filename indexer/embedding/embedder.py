"""Text to vectors with a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexer.chunking.tokens import EmbedderTokenizer, load_tokenizer
from indexer.embedding.batches import Batch, token_batches
from indexer.embedding.files import resolve_embedder
from indexer.embedding.passes import Passes
from indexer.embedding.precision import Precision, multiplying, precision_on, round_weights
from indexer.embedding.words import word_means
from indexer.errors import InputError
from indexer.settings import EmbedDtype, IndexerSettings

if TYPE_CHECKING:
    import torch

CPU_BATCH_TOKENS = 2_048  # the smallest passes that were not slower, with a thread for each, on two cores
GPU_BATCH_TOKENS = 65_536


class Embedder:
    """A loaded model: unit vectors for documents and for queries.

    Safe under threads: the passes of one call run at a time. The model's own prompts for queries and documents are used
    where it has them.

    Attributes:
        device: Where the model lies.
        precision: What its matrices are multiplied in; no part of its identity, the vectors are near enough.
        name: Name for people.
        identity: Name and hash of the weights, as recorded with a collection.
        max_tokens: Most tokens the model reads, special tokens counted.
        dimension: Length of the vectors.
        tokenizer: Counts tokens as the model does.
    """

    def __init__(
        self,
        name: str,
        device: str | None = None,
        *,
        threads: int | None = None,
        dtype: EmbedDtype = "auto",
        batch_tokens: int | None = None,
    ) -> None:
        """Load the model.

        Args:
            name: The embedded model's name, a folder, or a model name.
            device: Torch device; None lets the model choose.
            threads: Torch threads; None takes as many as torch would.
            dtype: What matrices are multiplied in; sums stay float32.
            batch_tokens: Most tokens of a forward pass, padding counted; None takes what suits the device.

        Raises:
            UnavailableError: The model is not there.
            InputError: The folder is not a sentence-transformers model.
        """
        files = resolve_embedder(name)
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        if threads is not None:
            torch.set_num_threads(threads)
        self._model = SentenceTransformer(str(files.path), device=device, local_files_only=True)
        self.device: torch.device = self._model.device
        self._passes = Passes(lanes=torch.get_num_threads() if self.device.type == "cpu" else 1)
        self.precision: Precision = precision_on(self.device, dtype)
        round_weights(self._model, self.precision)
        self._batch_tokens = batch_tokens or (CPU_BATCH_TOKENS if self.device.type == "cpu" else GPU_BATCH_TOKENS)
        self.name = files.name
        self.identity = files.identity
        self.max_tokens: int = int(self._model.max_seq_length or files.max_tokens)
        self.dimension: int = int(self._model.get_embedding_dimension() or 0)
        self.tokenizer: EmbedderTokenizer = load_tokenizer(files.path)
        # The first use sets padding and truncation, which must not happen while another pass counts on them.
        self._model.preprocess(["."])

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors of shape [len(texts), dimension] for text that is stored.

        Raises:
            InputError: Numbers of the model exceed what it multiplies in.
        """
        return self._encode(texts, query=False)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors of shape [len(texts), dimension] for text that is searched for.

        Raises:
            InputError: Numbers of the model exceed what it multiplies in.
        """
        return self._encode(texts, query=True)

    def encode_words(self, texts: Sequence[str], *, query: bool) -> list[NDArray[np.float32]]:
        """Return unit vectors of each text's words, of shape [words, width of the model's layers].

        Special tokens, the model's prompt and what is beyond `max_tokens` have none.
        """
        prompt = self._prompt(query=query)
        ahead = len({word for word in self.tokenizer.words(prompt) if word is not None})
        whole = [prompt + text for text in texts]
        words = [
            [None if word is None or word < ahead else word for word in self.tokenizer.words(text)] for text in whole
        ]
        lengths = [min(len(each), self.max_tokens) for each in words]
        found: dict[int, NDArray[np.float32]] = {}

        def one(batch: Batch) -> None:
            with multiplying(self.device, self.precision):
                tokens = self._model.encode(
                    [whole[position] for position in batch],
                    prompt="",
                    batch_size=len(batch),
                    output_value="token_embeddings",
                    show_progress_bar=False,
                )
            for position, vectors in zip(batch, tokens, strict=True):
                found[position] = word_means(vectors.float().cpu().numpy(), words[position])

        self._passes.run(token_batches(lengths, budget=self._batch_tokens), one)
        return [found[position] for position in range(len(texts))]

    def _prompt(self, *, query: bool) -> str:
        """Return what sentence-transformers puts in front of a query or a document."""
        prompts = self._model.prompts
        names = ("query",) if query else ("document", "passage", "corpus")
        name = next((name for name in names if name in prompts), self._model.default_prompt_name)
        return str(prompts.get(name, "")) if name else ""

    def _encode(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        encode = self._model.encode_query if query else self._model.encode_document
        prompt = self._prompt(query=query)
        lengths = [min(count, self.max_tokens) for count in self.tokenizer.counts([prompt + text for text in texts])]

        def one(batch: Batch) -> None:
            with multiplying(self.device, self.precision):
                vectors[list(batch)] = encode(
                    [texts[position] for position in batch],
                    batch_size=len(batch),
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )

        self._passes.run(token_batches(lengths, budget=self._batch_tokens), one)
        if not np.isfinite(vectors).all():
            raise InputError(
                f"Embedder {self.name} has no usable vector for some text when it multiplies in {self.precision}; "
                "set indexer.embed_dtype to bfloat16 or float32, or take another embedder."
            )
        return vectors


def open_embedder(settings: IndexerSettings, *, threads: int | None = None) -> Embedder:
    """Load the embedder that the settings name.

    Args:
        settings: Which one, and how it computes.
        threads: Torch threads of this process; None takes those of the settings.

    Raises:
        UnavailableError: The model is not there.
        InputError: The folder is not a sentence-transformers model.
    """
    return Embedder(
        settings.embedder,
        settings.embed_device,
        threads=threads or settings.embed_threads,
        dtype=settings.embed_dtype,
        batch_tokens=settings.embed_batch_tokens,
    )
