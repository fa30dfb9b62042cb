"""What every Ray Train worker runs: load the base, put LoRA in, train, measure."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.base_model import resolve_base
from train.elastic import plan_for
from train.plan import WorkerOutcome, WorkerPlan, WorkerRows

if TYPE_CHECKING:
    from datasets import Dataset
    from torch.nn import Module

    from train.reporting import Evaluation, Pace
    from train.sft import GraftTrainer
    from train.tokens import TokenRows


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

    from train.checkpoints import settle
    from train.measuring import forward_cost, measure
    from train.preemption import Preemption
    from train.reporting import Pace, ReportCallback
    from train.sigterm import told_to_end

    pace = Pace(plan)
    with tempfile.TemporaryDirectory(prefix="graftwork-train-") as scratch:
        trainer = build_trainer(plan, rows, share=lambda: pace.share, scratch=Path(scratch))
        checkpoint = ray.train.get_checkpoint()
        with nullcontext() if checkpoint is None else checkpoint.as_directory() as folder:
            followed = _followed(trainer, rows, plan=plan, checkpoint=folder)
            if plan.deadline is not None and plan.measuring.passes:
                pace.cost = forward_cost(trainer, rows.train, dtype=plan.dtype)
            trainer.add_callback(
                ReportCallback(
                    pace,
                    send=config["progress"],
                    run=Path(config["folder"]),
                    preemption=Preemption(told=told_to_end),
                    evaluation=followed,
                )
            )
            trainer.train(resume_from_checkpoint=folder)
        best = None if followed is None else followed.best
        if best is not None and pace.fault is None:
            best.restore(trainer.accelerator.unwrap_model(trainer.model))
        found = measure(trainer, rows, plan=plan) if pace.fault is None else {}
        settle()
        return _outcome(trainer, pace, scores=found, best_step=best.step or None if best is not None else None)


def _followed(
    trainer: GraftTrainer, rows: WorkerRows, *, plan: WorkerPlan, checkpoint: str | None
) -> Evaluation | None:
    """What is measured at every checkpoint, if it is."""
    from train.best import Best
    from train.measuring import loss_between_steps
    from train.reporting import Evaluation

    evaluation = rows.evaluation
    if evaluation is None or not plan.settings.follows_evaluation:
        return None
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
    from functools import partial

    from transformers import PrinterCallback

    from train.schedule import learning_rate_factor
    from train.sft import GraftTrainer

    settings = plan.settings
    fixed = partial(
        learning_rate_factor,
        planned_steps=plan.order.steps,
        warmup_steps=round(settings.warmup_ratio * plan.order.steps),
        scheduler=settings.lr_scheduler,
    )
    trainer = GraftTrainer(
        factor=lambda step: fixed(step, time_share=share()), **trainer_options(plan, rows, scratch=scratch)
    )
    trainer.remove_callback(PrinterCallback)
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

    settings = plan.settings
    folder = _base_folder(plan)
    return dict(
        model=_load_base(folder, dtype=plan.dtype),
        args=_arguments(plan, scratch),
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


def _load_base(folder: Path, *, dtype: str) -> Module:
    import torch
    from transformers import AutoModelForCausalLM

    model: Module = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="sdpa", local_files_only=True
    )
    return model


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
        packing=False,
        # Our callback decides when to log and to save.
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=settings.use_gpu,
    )
    return SFTConfig(**(ours | settings.trainer))


def as_dataset(rows: TokenRows) -> Dataset:
    """Give the token rows the form SFTTrainer takes: input_ids and labels, without copying the ids."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    columns = {"input_ids": rows.ids, "labels": rows.labels()}
    table = pa.table({name: pa.LargeListArray.from_arrays(rows.offsets, values) for name, values in columns.items()})
    return Dataset(InMemoryTable(table))


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
