"""What every Ray Train worker runs: load the base, put LoRA in, train, measure."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.base_model import resolve_base
from train.elastic import plan_for
from train.plan import WorkerOutcome, WorkerPlan, WorkerRows

if TYPE_CHECKING:
    import torch
    from torch.nn import Module
    from transformers import BitsAndBytesConfig

    from train.reporting import Evaluation, Pace
    from train.sft import GraftTrainer


def train_loop(config: dict[str, Any]) -> WorkerOutcome:
    """Train one run to its end on this worker.

    Args:
        config: "plan": the WorkerPlan; "rows": an object reference to the WorkerRows; "progress": a ProgressSender;
            "folder": the run's.

    Raises:
        RuntimeError: This worker finds another base model than the driver did, or was told to end.
        OSError: The checkpoints cannot be stored.
    """
    import ray
    import ray.train
    import torch
    from transformers import logging

    rows: WorkerRows = ray.get(config["rows"])
    plan = plan_for(config["plan"], rows.train.lengths, workers=ray.train.get_context().get_world_size())
    warnings.simplefilter("ignore", FutureWarning)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(max(1, int(plan.settings.cpus_per_worker)))

    from train.faults.checkpoints import settle
    from train.faults.preemption import Preemption
    from train.faults.sigterm import told_to_end
    from train.measuring import forward_cost, measure
    from train.reporting import Pace, ReportCallback
    from train.starts import Start

    pace = Pace(plan)
    with tempfile.TemporaryDirectory(prefix="graftwork-train-") as scratch:
        trainer = build_trainer(plan, rows, share=lambda: pace.share, scratch=Path(scratch))
        start = Start.of(trainer.model)
        checkpoint = ray.train.get_checkpoint()
        with nullcontext() if checkpoint is None else checkpoint.as_directory() as folder:
            if start is not None and folder is not None:
                start.check_same(Path(folder))
            followed = _followed(trainer, rows, plan=plan, checkpoint=folder)
            if plan.deadline is not None and plan.measuring.passes:
                pace.forward = partial(forward_cost, trainer, rows.train, dtype=plan.dtype)
            trainer.add_callback(
                ReportCallback(
                    pace,
                    send=config["progress"],
                    run=Path(config["folder"]),
                    preemption=Preemption(told=told_to_end),
                    evaluation=followed,
                    start=start,
                )
            )
            trainer.train(resume_from_checkpoint=folder)
        best = None if followed is None else followed.best
        if best is not None and pace.fault is None:
            best.restore(trainer.accelerator.unwrap_model(trainer.model))
        found = measure(trainer, rows, plan=plan, start=start) if pace.fault is None else {}
        settle()
        return _outcome(trainer, pace, scores=found, best_step=best.step or None if best is not None else None)


def _followed(
    trainer: GraftTrainer, rows: WorkerRows, *, plan: WorkerPlan, checkpoint: str | None
) -> Evaluation | None:
    """What is measured at every checkpoint, if it is."""
    from train.best import Best
    from train.measuring import loss_between_steps, scored_rows
    from train.reporting import Evaluation

    if rows.evaluation is None or not plan.settings.follows_evaluation:
        return None
    evaluation = scored_rows(rows.evaluation, settings=plan.settings)
    return Evaluation(
        loss=lambda: loss_between_steps(trainer, evaluation, dtype=plan.dtype),
        best=Best() if checkpoint is None else Best.of_checkpoint(Path(checkpoint)),
    )


def build_trainer(plan: WorkerPlan, rows: WorkerRows, *, share: Callable[[], float], scratch: Path) -> GraftTrainer:
    """Load the base model, put LoRA in, and set the trainer up.

    Args:
        plan: The run.
        rows: Its rows.
        share: The share of the time budget that is used up.
        scratch: Folder for what the trainer writes.
    """
    from transformers import PrinterCallback

    from train.apart import ApartCheck
    from train.schedule import learning_rate_factor
    from train.sft import GraftTrainer

    fixed = partial(
        learning_rate_factor, planned_steps=plan.order.steps, warmup_steps=plan.warmup_steps, fall=plan.fall()
    )
    trainer = GraftTrainer(
        factor=lambda step: fixed(step, time_share=share()), **trainer_options(plan, rows, scratch=scratch)
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.padding_free:
        trainer.add_callback(ApartCheck(name=plan.base_name))
    return trainer


def trainer_options(plan: WorkerPlan, rows: WorkerRows, *, scratch: Path) -> dict[str, Any]:
    """Load the base model, and return what TRL's SFTTrainer takes to put LoRA in and train a run's rows in their order.

    Args:
        plan: The run.
        rows: Its rows.
        scratch: Folder for what the trainer writes.
    """
    from peft import LoraConfig
    from transformers import AutoTokenizer

    from train.packing import as_dataset

    settings = plan.settings
    folder = _base_folder(plan)
    arguments = _arguments(plan, scratch)
    return dict(
        model=_load_base(folder, plan=plan, device=arguments.device),
        args=arguments,
        train_dataset=as_dataset(rows.train).select(plan.order.rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=settings.target_modules,
            use_rslora=settings.use_rslora,
            **settings.lora,
        ),
    )


def _base_folder(plan: WorkerPlan) -> Path:
    base = resolve_base(plan.base_model, models_dir=plan.models_dir)
    if base.fingerprint != plan.base_fingerprint:
        raise RuntimeError(
            f"The base model {plan.base_model} on {os.uname().nodename} is {base.fingerprint}, "
            f"the driver has {plan.base_fingerprint}; give all nodes the same files."
        )
    return base.path


def _load_base(folder: Path, *, plan: WorkerPlan, device: torch.device) -> Module:
    import torch
    from transformers import AutoModelForCausalLM

    settings = plan.settings
    quantized = (
        {}
        if settings.quantization == "none"
        else {"quantization_config": _four_bits(plan.dtype), "device_map": {"": device}}
    )
    model: Module = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, plan.dtype),
        attn_implementation=settings.attention,
        local_files_only=True,
        **quantized,
    )
    return model


def _four_bits(dtype: str) -> BitsAndBytesConfig:
    """As in QLoRA (arXiv 2305.14314): normal floats of 4 bits, whose scales are quantised once more."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _arguments(plan: WorkerPlan, scratch: Path) -> Any:
    from trl import SFTConfig

    settings = plan.settings
    checkpointing = settings.use_gpu if settings.gradient_checkpointing is None else settings.gradient_checkpointing
    ours: dict[str, Any] = dict(
        output_dir=str(scratch),
        use_cpu=not settings.use_gpu,
        ddp_backend="nccl" if settings.use_gpu else "gloo",
        ddp_find_unused_parameters=False,
        bf16=plan.dtype == "bfloat16",
        seed=settings.seed,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        max_steps=plan.order.steps,
        per_device_train_batch_size=settings.per_device_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        gradient_checkpointing=checkpointing,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        # The rows come packed; this has TRL's collator tell them apart.
        packing=settings.packing,
        # Our callback decides when to log and to save.
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=settings.use_gpu,
    )
    if settings.sharding == "fsdp2":
        ours["fsdp"] = True
    return SFTConfig(**(ours | settings.trainer))


def _outcome(trainer: GraftTrainer, pace: Pace, *, scores: dict[str, float], best_step: int | None) -> WorkerOutcome:
    steps = trainer.state.global_step
    losses = [(entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    tail = [loss for step, loss in losses if step > 0.9 * steps]
    return WorkerOutcome(
        steps=steps,
        train_seconds=pace.seconds,
        first_loss=losses[0][1] if losses else None,
        final_loss=sum(tail) / len(tail) if tail else None,
        scores=scores,
        tokens=int(pace.plan.order.tokens[steps - 1]) if steps else 0,
        tokens_per_s=pace.tokens_per_s(steps),
        best_step=best_step,
        fault=pace.fault,
    )
