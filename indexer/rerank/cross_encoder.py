"""A cross-encoder: one model that reads question and passage together and says how well they fit."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.embedding.precision import multiplying, precision_on, round_weights
from indexer.errors import InputError, UnavailableError
from indexer.settings import EmbedDtype

_BATCH = 32  # pairs of a forward pass; sorted by length by the library


class CrossEncoderReranker:
    """A loaded cross-encoder of one label; safe under threads: one call of the model runs at a time.

    Attributes:
        name: Name for people.
    """

    def __init__(self, name: str, device: str | None = None, *, dtype: EmbedDtype = "auto") -> None:
        """Load the model; nothing is fetched.

        Args:
            name: A folder, or the name of a model in the local model cache.
            device: Torch device; None lets the model choose.
            dtype: What matrices are multiplied in; sums stay float32.

        Raises:
            UnavailableError: No such folder, and no such model in the cache.
            InputError: The model is no cross-encoder, or gives more than one score.
        """
        path = _locate(name)
        _check_kind(path, name=name)
        import torch
        from sentence_transformers import CrossEncoder

        self.name = name
        self._model = CrossEncoder(str(path), device=device, local_files_only=True)
        if self._model.num_labels != 1:
            raise InputError(
                f"Reranker {name!r} gives {self._model.num_labels} scores per pair; take a cross-encoder with one."
            )
        self._raw = torch.nn.Identity()  # a sigmoid would press the best together at 1
        self._lock = threading.Lock()
        self._precision = precision_on(self._model.device, dtype)
        round_weights(self._model, self._precision)

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the model's score for each text, of shape [len(texts)]; a text over its limit is cut at the end."""
        with self._lock, multiplying(self._model.device, self._precision):
            found = self._model.predict(
                [(query, text) for text in texts],
                batch_size=_BATCH,
                activation_fn=self._raw,
                show_progress_bar=False,
            )
        return np.asarray(found, dtype=np.float32)


def _locate(name: str) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UnavailableError(
            f"Reranker {name!r} is neither a folder nor a model in the local model cache; "
            "give a folder in indexer.reranker, or fetch the model first."
        ) from error


def _check_kind(path: Path, *, name: str) -> None:
    """Refuse other models: the library would give them a head of random weights and call it a cross-encoder."""
    stated = _field(path / "config_sentence_transformers.json", "model_type")
    architectures = _field(path / "config.json", "architectures")
    first = str(architectures[0]) if isinstance(architectures, list) and architectures else "no model"
    if stated != "CrossEncoder" and not first.endswith("ForSequenceClassification"):
        raise InputError(f"Reranker {name!r} at {path} is no cross-encoder but {first}; give one in indexer.reranker.")


def _field(file: Path, key: str) -> object:
    if not file.is_file():
        return None
    values: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))
    return values.get(key)
