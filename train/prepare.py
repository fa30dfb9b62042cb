"""Everything that can be known and refused before a cluster is asked for anything."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import InputError
from train.answering import answered_rows, answering_work
from train.base_model import BaseModelFiles
from train.data.reading import SourceRows, read_dataset
from train.data.sources import find_sources
from train.elastic import batch_shape, check_sizes
from train.gate import Condition, check_measured, parse_gate
from train.hardware import check_hardware
from train.order import training_order
from train.passed_through import check_lora_fields, check_trainer_fields, trainer_fields
from train.plan import WorkerPlan, WorkerRows
from train.registry.adapter_config import AdapterConfig
from train.registry.checks import check_servable
from train.registry.manifest import DatasetRecord
from train.registry.names import check_name
from train.reserve import ForwardWork
from train.scores import measured_names
from train.settings import TrainSettings
from train.starts import changes_base, served_rank
from train.token_source import TokenSource, open_tokens
from train.tokens import TokenRows
from train.types import TokenStatistics, TrainRequest

# Names in /proc/cpuinfo of instructions that multiply bfloat16: x86 AVX-512 and AMX, Arm.
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
# A long run is reported about this often.
_REPORTS = 200
# Schedules that need no options, so that nothing has to be tried.
_PLAIN_SCHEDULES = {"constant_with_warmup", "linear", "cosine"}
_GENERAL = Path(__file__).parent / "general.jsonl"


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
        gate: What the scores must be for the adapter to be published.
    """

    base: BaseModelFiles
    dataset: DatasetRecord
    statistics: TokenStatistics
    template_sha256: str
    plan: WorkerPlan
    rows: WorkerRows
    gate: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class RunData:
    """The datasets of a run, tokenised.

    Attributes:
        source: What the training rows were made of and with.
        statistics: Token counts of the training rows.
        rows: All rows.
    """

    source: TokenSource
    statistics: TokenStatistics
    rows: WorkerRows


def read_data(request: TrainRequest, settings: TrainSettings) -> RunData:
    """Read and tokenise what a run learns from and is measured on; raises as `prepare_run` does."""
    source = open_tokens(request.datasets, settings=settings)
    held_out = read_dataset(find_sources(request.eval_datasets)) if request.eval_datasets else ()
    unrelated = read_dataset(find_sources(_general(settings))) if settings.general_dataset != [] else ()
    # Tokenising takes long: what cannot be served is refused before it.
    check_servable(_intended(settings), max_rank=settings.max_rank, base=source.base)
    rows, statistics = source.encode(source.examples, max_length=settings.max_length)
    evaluation = _measured_rows(held_out, source=source, settings=settings)
    general = _measured_rows(unrelated, source=source, settings=settings)
    return RunData(source, statistics, WorkerRows(rows, evaluation, general))


def prepare_run(
    request: TrainRequest,
    *,
    settings: TrainSettings,
    read: Callable[[TrainRequest, TrainSettings], RunData] = read_data,
) -> PreparedRun:
    """Check the request and the data, tokenise, and lay out every step.

    Args:
        request: What to train.
        settings: How.
        read: Reads the datasets; another one may know them from before.

    Raises:
        InputError: A bad name, bad rows, workers that get no equal shares of a step, a rank above the limit, target
            modules the base lacks, rows without a token to learn, a chat template that cannot be marked, a time budget
            of no seconds, or a gate on what is not measured.
        NotFoundError: The dataset or the base model does not exist.
    """
    started = time.time()
    check_name(request.name)
    if request.run_name is not None:
        check_name(request.run_name, what="training run")
    if request.workers is not None:
        settings = settings.model_copy(update={"workers": request.workers})
    if request.skip_engine_check:
        settings = settings.model_copy(update={"engine_check": False})
    _check_numbers(request, settings)
    _check_followed(request, settings)
    check_hardware(settings)
    gate = _gate(request, settings)
    check_lora_fields(settings.lora)
    _check_start(settings)
    if settings.trainer:
        check_trainer_fields(settings.trainer, known=trainer_fields())
    data = read(request, settings)
    source, rows = data.source, data.rows
    check_servable(_intended(settings), max_rank=settings.max_rank, base=source.base)
    if settings.packing or settings.trainer.get("padding_free"):
        side_by_side = _side_by_side(rows.train, base=source.base, settings=settings)
        rows = dataclasses.replace(rows, train=side_by_side)
    order = training_order(
        rows.train.lengths,
        shape=batch_shape(settings),
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        seed=settings.seed,
    )
    plan = WorkerPlan(
        base_model=str(source.base.path) if Path(settings.base_model).expanduser().is_dir() else settings.base_model,
        base_name=source.base.name,
        base_fingerprint=source.base.fingerprint,
        models_dir=settings.models_dir,
        settings=settings,
        dtype=training_dtype(settings),
        order=order,
        measuring=_measuring_work(rows.evaluation, rows.general, answers=settings.eval_answers),
        report_steps=max(1, order.steps // _REPORTS),
        started=started,
        deadline=_deadline(request, settings, started=started),
    )
    if settings.scheduler_options or settings.lr_scheduler not in _PLAIN_SCHEDULES:
        plan.fall()
    return PreparedRun(
        base=source.base,
        dataset=source.record,
        statistics=data.statistics,
        template_sha256=hashlib.sha256(source.template.encode()).hexdigest(),
        plan=plan,
        rows=rows,
        gate=gate,
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
    check_sizes(settings)
    checking = _checking_s(settings)
    if request.time_budget_s is not None and request.time_budget_s <= checking:
        raise InputError(
            f"A time budget of {request.time_budget_s:g} seconds leaves no time to train, for {checking:g} are kept "
            "for the engine check (train.engine_check_reserve_s); give more, or --skip-engine-check."
        )


def _check_followed(request: TrainRequest, settings: TrainSettings) -> None:
    if settings.follows_evaluation and not request.eval_datasets:
        which = "keep_best" if settings.keep_best else "early_stopping"
        raise InputError(f"The setting train.{which} goes by an evaluation dataset; give one with --eval-dataset.")


def _gate(request: TrainRequest, settings: TrainSettings) -> tuple[Condition, ...]:
    if request.gate is None:
        return ()
    gate = parse_gate(request.gate)
    check_measured(
        gate,
        measured=measured_names(
            evaluation=bool(request.eval_datasets),
            answers=settings.eval_answers > 0,
            general=settings.general_dataset != [],
        ),
    )
    return gate


def _general(settings: TrainSettings) -> Sequence[str]:
    return [str(_GENERAL)] if settings.general_dataset is None else settings.general_dataset


def _side_by_side(rows: TokenRows, *, base: BaseModelFiles, settings: TrainSettings) -> TokenRows:
    """See that rows may share a sequence, and pack them if they are to."""
    from train.apart import check_masks_are_known
    from train.packing import pack

    check_masks_are_known(base.path, name=base.name)
    return pack(rows, length=settings.sequence_length) if settings.packing else rows


def _measured_rows(sources: Sequence[SourceRows], *, source: TokenSource, settings: TrainSettings) -> TokenRows | None:
    examples = [example for each in sources for example in each.examples]
    return source.encode(examples, max_length=settings.max_length)[0] if examples else None


def _measuring_work(evaluation: TokenRows | None, general: TokenRows | None, *, answers: int) -> ForwardWork:
    """What it takes to measure base and adapter at the end."""
    once = ForwardWork()
    for rows in (evaluation, general):
        once += ForwardWork() if rows is None else ForwardWork(passes=len(rows), tokens=len(rows.ids))
    if evaluation is not None and answers:
        once += answering_work([evaluation.row(row) for row in answered_rows(len(evaluation), most=answers)])
    return once.times(2)


def _deadline(request: TrainRequest, settings: TrainSettings, *, started: float) -> float | None:
    if request.time_budget_s is None:
        return None
    return started + request.time_budget_s - _checking_s(settings)


def _checking_s(settings: TrainSettings) -> float:
    """Seconds of a time budget that are kept for the engine check."""
    return settings.engine_check_reserve_s if settings.engine_check else 0.0


def _check_start(settings: TrainSettings) -> None:
    start = settings.lora.get("init_lora_weights")
    if not changes_base(start):
        return
    if settings.quantization != "none" or settings.sharding != "none":
        raise InputError(
            f"train.lora.init_lora_weights is {start}, which takes the start out of the base's own weights; set "
            "train.quantization and train.sharding to none, or use another start."
        )
    if (rank := served_rank(settings.rank, start=start)) > settings.max_rank:
        raise InputError(
            f"train.lora.init_lora_weights is {start}, so that the adapter is published with rank {rank}, above the "
            f"highest rank served, {settings.max_rank}; train with rank {settings.max_rank // 2}, or raise max_rank."
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
