"""Finds the base model's files and names them by content, so that an adapter can say what it was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from indexer.errors import InputError, NotFoundError, UnavailableError
from train.embedded_base import EMBEDDED_BASE, materialise_embedded_base
from train.tensor_headers import TensorInfo, linear_shapes, read_tensor_headers

# What decides whether an adapter's tensors fit. Fields that transformers adds or renames on saving again stay out.
_SHAPE_FIELDS = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)
_SAMPLE_BYTES = 256
_HUB_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


@dataclass(frozen=True, slots=True)
class BaseModelFiles:
    """A base model on local disk.

    Attributes:
        name: The embedded model's name, the hub id, or the folder's name.
        path: Folder with config.json, the tokenizer and safetensors weights.
        fingerprint: "sha256:..." over names, shapes and sampled bytes of the weights; see `fingerprint_model`.
        chat_template_hash: "sha256:..." of the chat template's text; None where the model has none.
        modules: Two-dimensional weights, module path to (out features, in features); empty when unknown.
    """

    name: str
    path: Path
    fingerprint: str
    chat_template_hash: str | None
    modules: Mapping[str, tuple[int, int]] = field(default_factory=dict, repr=False, compare=False)


def resolve_base(name_or_path: str, *, models_dir: Path) -> BaseModelFiles:
    """Find a base model: the embedded one, a local folder, or a model in the local Hugging Face cache or on its hub.

    The embedded model is unpacked into `models_dir` the first time. The hub is asked only for a name that is no folder,
    and never under HF_HUB_OFFLINE=1.

    Raises:
        InputError: The folder holds no usable checkpoint (config.json and safetensors).
        NotFoundError: There is no such folder, and no such model can be reached.
        UnavailableError: The embedded model's package is not installed.
    """
    if name_or_path == EMBEDDED_BASE:
        return describe_base(materialise_embedded_base(models_dir), name=EMBEDDED_BASE)
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return describe_base(folder.resolve(), name=folder.resolve().name)
    looks_like_a_path = name_or_path.startswith((".", "/", "~")) or name_or_path.count("/") > 1
    if looks_like_a_path:
        raise NotFoundError(
            f"There is no base model folder {name_or_path}; give a folder, a hub id or {EMBEDDED_BASE!r}."
        )
    return describe_base(_hub_snapshot(name_or_path), name=name_or_path)


def describe_base(folder: Path, *, name: str) -> BaseModelFiles:
    """Read what a checkpoint folder holds, without loading weights (272 tensors: about 20 ms).

    Raises:
        InputError: config.json or the safetensors weights are missing or broken.
    """
    config = _read_object(folder / "config.json")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(
            f"The base model {folder} has no *.safetensors weights; convert it with save_pretrained first."
        )
    tensors = {file: read_tensor_headers(file) for file in files}
    merged = {key: tensor for headers in tensors.values() for key, tensor in headers.items()}
    return BaseModelFiles(
        name=name,
        path=folder,
        fingerprint=fingerprint_model(config, tensors),
        chat_template_hash=_chat_template_hash(folder),
        modules=linear_shapes(merged),
    )


def fingerprint_model(config: Mapping[str, object], tensors: Mapping[Path, Mapping[str, TensorInfo]]) -> str:
    """Name a checkpoint's content.

    The sha256 runs over the shape fields of the config, then over every tensor in the order of names: name, dtype,
    shape, and 256 bytes each from the beginning, the middle and the end of its data. It does not depend on how tensors
    are spread over files, nor on metadata; it notices another model, another fine-tune and another dtype, but not a
    change of a few numbers between the samples.
    """
    shape_config = config.get("text_config", config)
    if not isinstance(shape_config, Mapping):
        shape_config = config
    digest = hashlib.sha256()
    fields = {name: shape_config.get(name) for name in _SHAPE_FIELDS}
    fields["num_key_value_heads"] = fields["num_key_value_heads"] or fields["num_attention_heads"]
    digest.update(json.dumps(fields, sort_keys=True).encode())
    located = sorted((name, file) for file, headers in tensors.items() for name in headers)
    handles = {file: file.open("rb") for file in tensors}
    try:
        for name, file in located:
            tensor = tensors[file][name]
            digest.update(json.dumps([name, tensor.dtype, tensor.shape]).encode())
            last = max(tensor.start, tensor.end - _SAMPLE_BYTES)
            for offset in (tensor.start, (tensor.start + last) // 2, last):
                handles[file].seek(offset)
                digest.update(handles[file].read(min(_SAMPLE_BYTES, tensor.end - offset)))
    finally:
        for handle in handles.values():
            handle.close()
    return f"sha256:{digest.hexdigest()}"


def read_chat_template(folder: Path) -> str | None:
    """Return the chat template's text of a checkpoint folder, or None where it has none.

    Raises:
        InputError: tokenizer_config.json is not a JSON object.
    """
    template_file = folder / "chat_template.jinja"
    if template_file.is_file():
        return template_file.read_text(encoding="utf-8")
    config_file = folder / "tokenizer_config.json"
    if not config_file.is_file():
        return None
    match _read_object(config_file).get("chat_template"):
        case str(template):
            return template
        case list(named):
            defaults = [entry.get("template") for entry in named if entry.get("name") == "default"]
            return str(defaults[0]) if defaults else None
        case _:
            return None


def _chat_template_hash(folder: Path) -> str | None:
    template = read_chat_template(folder)
    return None if template is None else f"sha256:{hashlib.sha256(template.encode()).hexdigest()}"


def _read_object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"The base model folder {path.parent} has no readable {path.name}: {error.strerror}."
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} does not hold a JSON object.")
    return value


def _hub_snapshot(model_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model_id, allow_patterns=_HUB_PATTERNS))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise NotFoundError(
            f"The base model {model_id!r} is no local folder, is not in the Hugging Face cache and cannot be fetched; "
            f"give a folder or {EMBEDDED_BASE!r}."
        ) from error
    except HfHubHTTPError as error:
        raise UnavailableError(f"The hub refused the base model {model_id!r}: {str(error).splitlines()[0]}") from error
