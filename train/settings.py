"""The training section of the settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from indexer.errors import InputError
from train.embedded_base import EMBEDDED_BASE
from train.registry.place import RegistryPlace
from train.schedule import Scheduler

_HOME = Path("~/.graftwork")
# Folders that lie below the home folder unless set: field -> name there.
HOME_FOLDERS = {"models_dir": "models", "registry": "registry", "storage_path": "runs"}
UserPath = Annotated[Path, AfterValidator(Path.expanduser)]


def _under_home(field: str) -> Path:
    return (_HOME / HOME_FOLDERS[field]).expanduser()


class TrainSettings(BaseModel):
    """How adapters are trained and where they go.

    The three folders default to places under ~/.graftwork; whoever composes the settings replaces those that are not
    in `model_fields_set` when its home is another one.
    """

    model_config = ConfigDict(extra="forbid")

    base_model: str = Field(
        default=EMBEDDED_BASE,
        description="Model to adapt: the embedded one, a local checkpoint folder, or a Hugging Face id.",
    )
    models_dir: UserPath = Field(
        default_factory=lambda: _under_home("models_dir"),
        description="Folder the embedded base model is unpacked into.",
    )
    registry: RegistryPlace = Field(
        default_factory=lambda: _under_home("registry"),
        description="Where the adapter registry lies: a folder, or s3://, gs:// or az://bucket/prefix.",
    )
    storage_path: UserPath = Field(
        default_factory=lambda: _under_home("storage_path"),
        description="Folder for checkpoints and logs of training runs; every node of the cluster must reach it.",
    )

    workers: int = Field(default=2, ge=1, description="Ray Train workers (one per GPU, or one per CPU core).")
    min_workers: int | None = Field(
        default=None,
        ge=1,
        description="Workers that a run goes on with where the cluster has no room for all; null: it waits for all.",
    )
    resize_interval_s: float = Field(
        default=60.0,
        gt=0,
        description="Seconds between looks for room for more workers, where min_workers is set; they cost a restart.",
    )
    cpus_per_worker: float = Field(default=1.0, gt=0, description="CPUs each worker reserves and uses as threads.")
    use_gpu: bool = Field(default=False, description="Give each worker one GPU.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Number type of base weights and arithmetic; auto: bfloat16 where the hardware multiplies it.",
    )
    quantization: Literal["none", "nf4"] = Field(
        default="none",
        description="nf4: hold the base in 4 bits while training (QLoRA), by the extra qlora; it is served whole.",
    )
    sharding: Literal["none", "fsdp2"] = Field(
        default="none",
        description="fsdp2: share the base's weights out over the workers' GPUs, where one cannot hold them all.",
    )
    max_failures: int = Field(
        default=2,
        ge=-1,
        description="How often a run restarts from its last checkpoint after a worker died; -1: always.",
    )

    rank: int = Field(default=16, ge=1, description="LoRA rank.")
    alpha: int = Field(default=32, ge=1, description="LoRA alpha; the update is scaled by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout in front of the LoRA matrices.")
    use_rslora: bool = Field(default=False, description="Scale by alpha / sqrt(rank), which suits high ranks.")
    target_modules: str | list[str] = Field(
        default="all-linear", description="Modules that get a LoRA pair; all-linear: every linear layer but the output."
    )
    lora: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="More fields of PEFT's LoraConfig: exclude_modules, init_lora_weights, layers_to_transform, "
        "layers_pattern.",
    )
    trainer: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="More fields of TRL's SFTConfig, passed on as they are: report_to, optim, neftune_noise_alpha, ...",
    )
    max_rank: int = Field(
        default=64,
        ge=1,
        description="Training above this rank is refused; it must equal serve.max_lora_rank, the most that is served.",
    )

    learning_rate: float = Field(
        default=5e-4,
        gt=0,
        description="Peak learning rate of AdamW; many billions of weights want 1e-4 to 2e-4, short runs of few 1e-3.",
    )
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1, description="Share of all steps in which the rate rises.")
    lr_scheduler: Scheduler = Field(
        default="linear",
        description="How the rate falls behind the warm-up, by transformers; trainer.lr_scheduler_kwargs tunes it.",
    )
    epochs: float = Field(default=2.0, gt=0, description="Passes over the dataset.")
    max_steps: int | None = Field(default=None, ge=1, description="Stop after this many steps; null: as epochs say.")
    max_length: int = Field(default=1024, ge=16, description="Tokens a row may have; what is behind them is cut off.")
    packing: bool = Field(
        default=False,
        description="Put several rows into one sequence, where none sees another; fills GPUs, gains nothing on CPUs.",
    )
    packed_length: int | None = Field(
        default=None, ge=16, description="Tokens of a packed sequence, max_length at least; null: max_length."
    )
    attention: Literal["sdpa", "flash_attention_2"] = Field(
        default="sdpa",
        description="Attention of transformers; flash_attention_2 wants a GPU and flash-attn, and makes packing cheap.",
    )
    per_device_batch_size: int = Field(
        default=1,
        ge=1,
        description="Rows, or packed sequences, per worker in one forward pass; 1 pads nothing, GPUs want more.",
    )
    gradient_accumulation: int = Field(default=4, ge=1, description="Forward passes per worker and optimiser step.")
    gradient_checkpointing: bool | None = Field(
        default=None, description="Compute activations twice to save memory; null: on GPUs only."
    )
    chat_template: UserPath | None = Field(
        default=None,
        description="Jinja chat template with {% generation %} markers; null: derived from the base model's own.",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this norm.")
    seed: int = Field(default=7, ge=0, description="Seeds LoRA's start, dropout and the order of rows.")
    save_steps: int = Field(
        default=25, ge=1, description="Steps between checkpoints that a restarted run goes on from."
    )

    keep_best: bool = Field(
        default=False,
        description="Measure the loss on the evaluation dataset at every checkpoint; the best one is published.",
    )
    early_stopping: int | None = Field(
        default=None,
        ge=1,
        description="End after so many checkpoints in a row without a lower evaluation loss, and publish the best.",
    )
    loss_spike: float | None = Field(
        default=None,
        gt=1,
        description="End the run where the loss is over so many times its median of late; null: only where it is no "
        "number.",
    )
    eval_answers: int = Field(
        default=32,
        ge=0,
        description="Rows of the evaluation dataset that base and adapter answer at the end, for f1; 0: none.",
    )
    general_dataset: list[str] | None = Field(
        default=None,
        description="What forgetting is measured on at the end: rows that have nothing to do with the task; null: 48 "
        "questions that come with Graftwork; []: it is not measured.",
    )

    engine_check: bool = Field(
        default=True,
        description="Load the adapter in vLLM before it is published, and hold what it computes there against PEFT; an "
        "adapter that is published without it is marked unverified (serve.allow_unverified).",
    )
    engine_check_memory_gib: float | None = Field(
        default=None,
        gt=0,
        description="Memory that the check reserves on a node, and may use; null: as the base model's weights need.",
    )
    engine_check_timeout_s: float = Field(
        default=600.0, gt=0, description="Seconds that PEFT, and then the engine, may take in the check."
    )
    engine_check_reserve_s: float = Field(
        default=90.0, ge=0, description="Seconds of a run's time budget that are kept for the check."
    )

    @property
    def least_workers(self) -> int:
        """Workers without which the run waits."""
        return self.workers if self.min_workers is None else self.min_workers

    @property
    def follows_evaluation(self) -> bool:
        """Whether the loss on the evaluation dataset is measured at every checkpoint."""
        return self.keep_best or self.early_stopping is not None

    @property
    def scheduler_options(self) -> dict[str, JsonValue]:
        """What the schedule of the learning rate takes beside its name."""
        options = self.trainer.get("lr_scheduler_kwargs") or {}
        if not isinstance(options, dict):
            raise InputError(f"train.trainer.lr_scheduler_kwargs is {options!r}; give names and values.")
        return options

    @property
    def sequence_length(self) -> int:
        """Tokens that a packed sequence has room for."""
        return self.max_length if self.packed_length is None else self.packed_length

    @model_validator(mode="after")
    def _check_packed_length(self) -> TrainSettings:
        if self.packed_length is not None and not self.packing:
            raise ValueError(f"packed_length is {self.packed_length}, and packing is off; set packing, or leave it out")
        if self.sequence_length < self.max_length:
            raise ValueError(f"packed_length {self.packed_length} is below max_length {self.max_length}")
        return self

    @model_validator(mode="after")
    def _check_rank(self) -> TrainSettings:
        if self.rank > self.max_rank:
            raise ValueError(f"rank {self.rank} is above max_rank {self.max_rank}")
        return self
