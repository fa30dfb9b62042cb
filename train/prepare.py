"""Everything that can be known and refused before a cluster is asked for anything."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from indexer.errors import InputError
from train.base_model import BaseModelFiles, resolve_base
from train.chat_template import Tokenizer, check_same_text, training_template
from train.dataset import ChatExample, hash_dataset, read_chat_dataset
from train.order import BatchShape, training_order
from train.plan import WorkerPlan, WorkerRows
from train.registry.adapter_config import AdapterConfig
from train.registry.checks import check_servable
from train.registry.manifest import DatasetRecord
from train.registry.names import check_name
from train.settings import TrainSettings
from train.tokens import TokenRows, encode_examples
from train.types import TokenStatistics, TrainRequest

# Names in /proc/cpuinfo of instructions that multiply bfloat16: x86 AVX-512 and AMX, Arm.
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
# A long run is reported about this often.
_REPORTS = 200
# Rows of the dataset whose rendering is compared with the base model's own template.
_COMPARED_ROWS = 200


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that passed every check.

    Attributes:
        base: The base model.
        dataset: What the manifest will say about the data.
        statistics: Token counts of the training rows.
        template_sha256: Hex digest of the chat template that the rows were rendered with.
        plan: What the workers get.
        rows: The tokenised rows.
    """

    base: BaseModelFiles
    dataset: DatasetRecord
    statistics: TokenStatistics
    template_sha256: str
    plan: WorkerPlan
    rows: WorkerRows


def prepare_run(request: TrainRequest, *, settings: TrainSettings) -> PreparedRun:
    """Check the request and the data, tokenise, and lay out every step.

    Raises:
        InputError: A bad name, bad rows, a rank above the limit, target modules the base lacks, rows without a token
            to learn, a chat template that cannot be marked, or a time budget of no seconds.
        NotFoundError: The dataset or the base model does not exist.
    """
    started = time.time()
    check_name(request.name)
    if request.run_name is not None:
        check_name(request.run_name, what="training run")
    if request.workers is not None:
        settings = settings.model_copy(update={"workers": request.workers})
    _check_numbers(request, settings)
    examples = read_chat_dataset(request.dataset)
    held_out = None if request.eval_dataset is None else read_chat_dataset(request.eval_dataset)
    base = resolve_base(settings.base_model, models_dir=settings.models_dir)
    check_servable(_intended(settings), max_rank=settings.max_rank, base=base)

    tokenizer = _load_tokenizer(base.path)
    template = training_template(tokenizer, given=_given_template(settings), base_name=base.name)
    check_same_text(tokenizer, template, (example.as_dicts() for example in examples[:_COMPARED_ROWS]))
    rows, statistics = _encode(examples, request.dataset, tokenizer, template, settings)
    evaluation = None
    if held_out is not None and request.eval_dataset is not None:
        evaluation, _ = _encode(held_out, request.eval_dataset, tokenizer, template, settings)

    shape = BatchShape(settings.workers, settings.per_device_batch_size, settings.gradient_accumulation)
    order = training_order(
        rows.lengths, shape=shape, epochs=settings.epochs, max_steps=settings.max_steps, seed=settings.seed
    )
    plan = WorkerPlan(
        base_model=str(base.path) if Path(settings.base_model).expanduser().is_dir() else settings.base_model,
        base_name=base.name,
        base_fingerprint=base.fingerprint,
        models_dir=settings.models_dir,
        settings=settings,
        dtype=training_dtype(settings),
        order=order,
        eval_tokens=0 if evaluation is None else len(evaluation.ids),
        report_steps=max(1, order.steps // _REPORTS),
        started=started,
        deadline=None if request.time_budget_s is None else started + request.time_budget_s,
    )
    record = DatasetRecord(uri=str(request.dataset), sha256=hash_dataset(request.dataset), rows=len(examples))
    return PreparedRun(
        base=base,
        dataset=record,
        statistics=statistics,
        template_sha256=hashlib.sha256(template.encode()).hexdigest(),
        plan=plan,
        rows=WorkerRows(rows, evaluation),
    )


def training_dtype(settings: TrainSettings, *, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the number type to train in.

    auto is bfloat16 on GPUs and on CPUs that multiply it in hardware (there a step took 0.68 of float32's time), else
    float32. The machine of the driver stands for those of the workers.
    """
    if settings.dtype != "auto":
        return settings.dtype
    if settings.use_gpu:
        return "bfloat16"
    words = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return "bfloat16" if words & _BFLOAT16_FLAGS else "float32"


def _check_numbers(request: TrainRequest, settings: TrainSettings) -> None:
    if settings.workers < 1:
        raise InputError(f"{settings.workers} workers cannot train; give at least 1.")
    if request.time_budget_s is not None and request.time_budget_s <= 0:
        raise InputError(
            f"A time budget of {request.time_budget_s:g} seconds leaves no time to train; give more, or none."
        )


def _intended(settings: TrainSettings) -> AdapterConfig:
    targets = settings.target_modules
    return AdapterConfig(
        peft_type="LORA",
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=targets if isinstance(targets, str) else tuple(targets),
        use_rslora=settings.use_rslora,
    )


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


def _encode(
    examples: list[ChatExample], source: Path, tokenizer: Tokenizer, template: str, settings: TrainSettings
) -> tuple[TokenRows, TokenStatistics]:
    return encode_examples(
        examples, tokenizer=tokenizer, template=template, max_length=settings.max_length, source=str(source)
    )
