"""Fields of PEFT's LoraConfig and TRL's SFTConfig that the settings pass on as they are, and those that they may not.

The server loads plain LoRA over the base model as it is (`registry/checks.py`). What gives the adapter other parts is
refused before anything is trained.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from indexer.errors import InputError
from train.starts import changes_base

# Fields of LoraConfig that leave the adapter plain and the base model as it is.
LORA_FIELDS = frozenset({"exclude_modules", "init_lora_weights", "layers_pattern", "layers_to_transform"})
# Starts that change the adapter's weights alone; `starts.py` takes PiSSA and OLoRA, too, which change the base model's.
# CorDA, EVA and LoRA-GA want data of their own, LoftQ makes another base model, and MiCA's B is no start but frozen
# (peft/tuners/lora/config.py).
LORA_STARTS: tuple[JsonValue, ...] = (True, False, "gaussian", "orthogonal")
_LORA_SETTINGS: Mapping[str, str] = {
    "r": "train.rank",
    "lora_alpha": "train.alpha",
    "lora_dropout": "train.dropout",
    "target_modules": "train.target_modules",
    "use_rslora": "train.use_rslora",
}
# Fields of SFTConfig that a setting or a module of ours decides.
TRAINER_OWNERS: Mapping[str, str] = {
    "output_dir": "the run's own folder",
    "use_cpu": "train.use_gpu",
    "bf16": "train.dtype",
    "fp16": "train.dtype",
    "seed": "train.seed",
    "learning_rate": "train.learning_rate",
    "lr_scheduler_type": "train.lr_scheduler",
    "warmup_steps": "train.warmup_ratio",
    "weight_decay": "train.weight_decay",
    "max_grad_norm": "train.max_grad_norm",
    "num_train_epochs": "train.epochs",
    "max_steps": "train.max_steps",
    "per_device_train_batch_size": "train.per_device_batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "gradient_checkpointing": "train.gradient_checkpointing",
    "max_length": "train.max_length",
    "packing": "train.packing",
    "packing_strategy": "train.packing",
    "eval_packing": "train.packing",
    "train_sampling_strategy": "the rows, which are laid out before the run",
    "dataset_kwargs": "the rows, which are tokenised before the run",
    "chat_template_path": "train.chat_template",
    "assistant_only_loss": "the rows, which say what is learned",
    "completion_only_loss": "the rows, which say what is learned",
    "fsdp": "train.sharding",
    "deepspeed": "train.sharding",
    "parallelism_config": "train.sharding",
    "save_strategy": "train.save_steps",
    "save_steps": "train.save_steps",
    "logging_strategy": "the reports of the run",
    "eval_strategy": "--eval-dataset",
}


def check_lora_fields(given: Mapping[str, JsonValue]) -> None:
    """See that fields of LoraConfig may be passed on.

    Raises:
        InputError: One may not; the message says what to set instead, or why.
    """
    for name, value in given.items():
        if name in _LORA_SETTINGS:
            raise InputError(f"train.lora.{name} is set by {_LORA_SETTINGS[name]}; set that instead.")
        if name == "use_dora":
            raise InputError("train.lora.use_dora: vLLM 0.29 serves no DoRA; leave it out, or set train.use_rslora.")
        if name not in LORA_FIELDS:
            known = ", ".join(sorted(LORA_FIELDS))
            raise InputError(f"train.lora.{name} is none of the fields that leave an adapter servable: {known}.")
        if name == "init_lora_weights" and not (
            changes_base(value) or any(value == start and type(value) is type(start) for start in LORA_STARTS)
        ):
            starts = ", ".join(map(repr, (*LORA_STARTS, "pissa", "pissa_niter_4", "olora")))
            raise InputError(
                f"train.lora.init_lora_weights is {value!r}, which wants data of its own, another base model or other "
                f"training; use one of {starts}."
            )


def check_trainer_fields(given: Iterable[str], *, known: frozenset[str]) -> None:
    """See that fields of SFTConfig may be passed on.

    Args:
        given: Their names.
        known: All that the installed TRL has.

    Raises:
        InputError: One may not, or is unknown; the nearest known one is named.
    """
    for name in given:
        if name in TRAINER_OWNERS:
            raise InputError(f"train.trainer.{name} is decided by {TRAINER_OWNERS[name]}; leave it out.")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; {near[0]} is one" if near else ""
            raise InputError(f"train.trainer.{name} is no field of TRL's SFTConfig{hint}.")


def trainer_fields() -> frozenset[str]:
    """Names of the fields of the installed SFTConfig; importing TRL takes seconds."""
    import dataclasses

    from trl import SFTConfig

    return frozenset(field.name for field in dataclasses.fields(SFTConfig))
