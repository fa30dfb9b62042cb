"""adapter_config.json as PEFT writes it: the fields that decide whether an adapter can be served."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexer.errors import InputError


class AdapterConfig(BaseModel):
    """The part of a PEFT configuration that Graftwork reads; other fields are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    peft_type: str = Field(description="Kind of adapter; LORA is the one that can be served.")
    base_model_name_or_path: str | None = Field(default=None, description="What the trainer called the base: a hint.")
    r: int = Field(ge=1, description="Rank.")
    lora_alpha: float = Field(description="Scale before division by the rank.")
    target_modules: str | tuple[str, ...] = Field(description="Names of adapted modules, or a pattern.")
    bias: str = Field(default="none", description="Which biases were trained.")
    modules_to_save: tuple[str, ...] | None = Field(default=None, description="Modules trained in full.")
    use_rslora: bool = Field(default=False, description="Scaled by the square root of the rank.")
    use_dora: bool = Field(default=False, description="Weight-decomposed adapter.")
    lora_bias: bool = Field(default=False, description="The B matrices have biases.")
    rank_pattern: dict[str, int] = Field(default_factory=dict, description="Ranks of single modules.")
    alpha_pattern: dict[str, float] = Field(default_factory=dict, description="Alphas of single modules.")
    target_parameters: tuple[str, ...] | None = Field(default=None, description="Adapted bare parameters.")
    trainable_token_indices: object | None = Field(default=None, description="Tokens whose embedding was trained.")


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read adapter_config.json of an adapter folder.

    Raises:
        InputError: The file is missing or is no PEFT configuration of a LoRA adapter.
    """
    path = folder / "adapter_config.json"
    try:
        return AdapterConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{folder} holds no readable adapter_config.json ({error.strerror}); give a PEFT adapter folder."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise InputError(f"{path} is not the configuration of a LoRA adapter: {place}: {first['msg']}.") from error
