"""The training section of the settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from train.embedded_base import EMBEDDED_BASE

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
    registry: UserPath = Field(
        default_factory=lambda: _under_home("registry"), description="Folder of the adapter registry."
    )
    storage_path: UserPath = Field(
        default_factory=lambda: _under_home("storage_path"),
        description="Folder for checkpoints and logs of training runs; every node of the cluster must reach it.",
    )

    workers: int = Field(default=2, ge=1, description="Ray Train workers (one per GPU, or one per CPU core).")
    cpus_per_worker: float = Field(default=1.0, gt=0, description="CPUs each worker reserves and uses as threads.")
    use_gpu: bool = Field(default=False, description="Give each worker one GPU.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Number type of base weights and arithmetic; auto: bfloat16 where the hardware multiplies it.",
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
    lr_scheduler: Literal["constant_with_warmup", "linear", "cosine"] = Field(
        default="linear", description="How the rate falls after the warm-up."
    )
    epochs: float = Field(default=2.0, gt=0, description="Passes over the dataset.")
    max_steps: int | None = Field(default=None, ge=1, description="Stop after this many steps; null: as epochs say.")
    max_length: int = Field(default=1024, ge=16, description="Tokens a row may have; what is behind them is cut off.")
    per_device_batch_size: int = Field(
        default=1, ge=1, description="Rows per worker in one forward pass; 1 pads nothing, GPUs want more."
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

    @model_validator(mode="after")
    def _check_rank(self) -> TrainSettings:
        if self.rank > self.max_rank:
            raise ValueError(f"rank {self.rank} is above max_rank {self.max_rank}")
        return self
