"""Text to vectors with a sentence-transformers model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexer.chunking.tokens import EmbedderTokenizer, load_tokenizer
from indexer.embedding.files import resolve_embedder
from indexer.settings import EmbedDtype

if TYPE_CHECKING:
    import torch

INNER_BATCH = 32  # texts per forward pass, sorted by length; larger ones were not quicker on CPU


class Embedder:
    """A loaded model: unit vectors for documents and for queries.

    Safe under threads: one forward pass runs at a time. The model's own prompts for queries and documents are used
    where it has them.

    Attributes:
        device: Where the model lies.
        name: Name for people.
        identity: Name and hash of the weights, as recorded with a collection.
        max_tokens: Most tokens the model reads, special tokens counted.
        dimension: Length of the vectors.
        tokenizer: Counts tokens as the model does.
    """

    def __init__(
        self, name: str, device: str | None = None, *, threads: int | None = None, dtype: EmbedDtype = "auto"
    ) -> None:
        """Load the model.

        Args:
            name: The embedded model's name, a folder, or a model name.
            device: Torch device; None lets the model choose.
            threads: Torch threads of this process; None leaves them.
            dtype: What matrices are multiplied in; weights and sums stay float32.

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
        self._lock = threading.Lock()
        self.device: torch.device = self._model.device
        self._bfloat16 = multiplies_bfloat16(self.device) if dtype == "auto" else dtype == "bfloat16"
        self.name = files.name
        self.identity = files.identity
        self.max_tokens: int = int(self._model.max_seq_length or files.max_tokens)
        self.dimension: int = int(self._model.get_embedding_dimension() or 0)
        self.tokenizer: EmbedderTokenizer = load_tokenizer(files.path)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors of shape [len(texts), dimension] for text that is stored."""
        return self._encode(texts, query=False)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors of shape [len(texts), dimension] for text that is searched for."""
        return self._encode(texts, query=True)

    def _encode(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        encode = self._model.encode_query if query else self._model.encode_document
        import torch

        lower = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._bfloat16)
        with self._lock, lower:
            vectors = encode(list(texts), batch_size=INNER_BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has instructions that multiply bfloat16; without them it is slower than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False
