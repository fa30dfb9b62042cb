"""An adapter version and its base become one plain checkpoint, for whatever serves models without adapters.

Memory: the base model in its own number type (2 bytes a weight in bfloat16). Disk: as much again, in the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from indexer.errors import ConflictError, InputError, NotFoundError, UnavailableError, writing
from train.base_model import BaseModelFiles, describe_base
from train.registry.author import code_version, user_name
from train.registry.files import hash_file
from train.registry.manifest import AdapterManifest, FileRecord
from train.registry.registry import AdapterRegistry
from train.registry.verbs import check_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MERGE_RECORD: Final = "graftwork_merge.json"
# What a checkpoint has beside its weights and config.json: tokenizer, chat template, generation config.
_BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")
_WRITTEN_ANEW = ("config.json", MERGE_RECORD)
# Room for what is beside the weights, a tokenizer mostly.
_BESIDE_BYTES = 64 * 2**20


class MergeRecord(BaseModel):
    """What a merged checkpoint was made from, and what it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_version: Literal["graftwork.dev/v1"] = "graftwork.dev/v1"
    adapter: str = Field(description="Name and version of the adapter.")
    adapter_files: dict[str, FileRecord] = Field(description="Its files.")
    base_model: str = Field(description="Name of the base model.")
    base_fingerprint: str = Field(description="Fingerprint of the base model's weights.")
    chat_template_hash: str | None = Field(description="Hash of the chat template, which is the base model's.")
    fingerprint: str = Field(description="Fingerprint of the merged weights, as an adapter's manifest would name it.")
    dtype: str = Field(description="Number type of the merged weights: the base model's own.")
    files: dict[str, FileRecord] = Field(description="Every file of the checkpoint but this one.")
    created_at: datetime = Field(description="When it was merged, UTC.")
    created_by: str = Field(description="Who merged it.")
    code_version: str = Field(description="Version of Graftwork that merged it.")


def merge_adapter(
    ref: str, target: Path, *, registry: AdapterRegistry, find_base: Callable[[], BaseModelFiles]
) -> MergeRecord:
    """Write a version merged into its base model as a checkpoint that vLLM and transformers load.

    The folder has the merged weights, and the base model's tokenizer, chat template and generation config as they are.
    It appears whole or not at all; what a killed merge left beside it is deleted by the next one into the same folder.

    Args:
        ref: The version.
        target: Folder to make; must not exist or be empty.
        registry: Where the version is.
        find_base: Gives the base model; asked once the version is found, for it may have to be unpacked.

    Raises:
        InputError: `ref` is no reference, the version is damaged or made for another base model, the base model is
            quantised, `target` is a mount point, or merging gives weights that are no numbers.
        NotFoundError: There is no such version, base model, or folder to make `target` in.
        ConflictError: `target` exists and is not empty, or another merge into it is under way.
        UnavailableError: The disk has no room, or cannot be written.
    """
    _check_target(target)
    manifest = registry.resolve(ref)
    base = find_base()
    _check_plain(base)
    _check_room(target, base)
    with registry.fetched(manifest) as adapter:
        check_folder(adapter, manifest, base=base, max_rank=manifest.rank)
        with writing("The merged model", target, otherwise="name another folder"), _staging(target) as staging:
            dtype = _write_merged(adapter, manifest, base=base, folder=staging)
            record = _record(manifest, base=base, folder=staging, dtype=dtype)
            (staging / MERGE_RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
            os.replace(staging, target)
    return record


def _check_target(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConflictError(f"{target} is not an empty folder; give one that is empty or does not exist.")
    if not target.parent.is_dir():
        raise NotFoundError(f"There is no folder {target.parent} to make {target.name} in; make it, or name another.")
    if target.is_mount():
        raise InputError(f"{target} is a mount point, which cannot appear in one step; name a folder in it.")


def _check_plain(base: BaseModelFiles) -> None:
    """Refuse a base whose numbers are codes: what is added to them is rounded to a code, and mostly lost."""
    if "quantization_config" in json.loads((base.path / "config.json").read_bytes()):
        raise InputError(
            f"The base model {base.name} is quantised, and an adapter merged into it would be rounded away; serve the "
            "adapter beside it."
        )


def _check_room(target: Path, base: BaseModelFiles) -> None:
    needed = sum(file.stat().st_size for file in base.path.glob("*.safetensors")) + _BESIDE_BYTES
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise UnavailableError(
            f"The merged model needs {needed / 2**30:.1f} GiB and {target.parent} has {free / 2**30:.1f} GiB free; "
            "make room, or name another folder."
        )


@contextlib.contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A folder beside the target, locked while it is used; those of merges that were killed are deleted first."""
    prefix, suffix = f".{target.name}-", ".partial"
    for other in target.parent.glob(f"{prefix}*{suffix}"):
        with _locked(other) as ours:
            if not ours:
                raise ConflictError(f"Another merge is writing {target}; wait for it, or name another folder.")
            shutil.rmtree(other)
    staging = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=target.parent))
    try:
        with _locked(staging):
            yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which ends with the process; whether it could be had."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _write_merged(adapter: Path, manifest: AdapterManifest, *, base: BaseModelFiles, folder: Path) -> str:
    """Write weights, config and what the base has beside them; the number type of the weights."""
    from safetensors import SafetensorError

    model = _merged(adapter, manifest, base=base)
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(str(error)) from error  # A full disk is one, whichever library meets it.
    for pattern in _BESIDE:
        for file in base.path.glob(pattern):
            if file.name not in _WRITTEN_ANEW and not file.name.endswith(".safetensors.index.json"):
                shutil.copyfile(file, folder / file.name)
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
    return str(model.dtype).removeprefix("torch.")


def _merged(adapter: Path, manifest: AdapterManifest, *, base: BaseModelFiles) -> PreTrainedModel:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype="auto", local_files_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # what peft 0.21 asks of transformers 5.23
        grafted = PeftModel.from_pretrained(model, str(adapter))
    try:
        merged: PreTrainedModel = grafted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise InputError(
            f"The adapter {manifest.ref} cannot be merged: {' '.join(str(error).split())} Train it again."
        ) from error
    return merged


def _record(manifest: AdapterManifest, *, base: BaseModelFiles, folder: Path, dtype: str) -> MergeRecord:
    return MergeRecord(
        adapter=manifest.ref,
        adapter_files=manifest.files,
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        chat_template_hash=base.chat_template_hash,
        fingerprint=describe_base(folder, name=manifest.ref).fingerprint,
        dtype=dtype,
        files={file.name: hash_file(file) for file in sorted(folder.iterdir())},
        created_at=datetime.now(UTC),
        created_by=user_name(),
        code_version=code_version(),
    )
