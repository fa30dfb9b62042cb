"""What the server can load, decided from plain data before any engine sees a file."""

from __future__ import annotations

import re
from collections.abc import Mapping

from indexer.errors import InputError
from train.base_model import BaseModelFiles
from train.registry.adapter_config import AdapterConfig
from train.registry.manifest import AdapterManifest
from train.tensor_headers import TensorInfo

_PREFIX = "base_model.model."
# PEFT's word for every linear layer but the output layer.
ALL_LINEAR = "all-linear"
_A, _B = ".lora_A.weight", ".lora_B.weight"
_SHOWN = 4


def check_servable(adapter_config: AdapterConfig, *, max_rank: int, base: BaseModelFiles) -> None:
    """Refuse a configuration that vLLM would refuse, or load and then compute something else with.

    Raises:
        InputError: Not plain LoRA (modules_to_save, DoRA, trained biases or embeddings, ranks or alphas per module),
            rank above `max_rank`, or a target module that the base model does not have.
    """
    problems = [
        (adapter_config.peft_type.upper() != "LORA", f"its type is {adapter_config.peft_type!r}, not LORA"),
        (bool(adapter_config.modules_to_save), f"modules_to_save is {list(adapter_config.modules_to_save or ())}"),
        (adapter_config.use_dora, "use_dora is true"),
        (
            adapter_config.bias != "none" or adapter_config.lora_bias,
            f"it has trained biases (bias={adapter_config.bias!r})",
        ),
        (bool(adapter_config.rank_pattern), f"rank_pattern is {adapter_config.rank_pattern}"),
        (bool(adapter_config.alpha_pattern), f"alpha_pattern is {adapter_config.alpha_pattern}"),
        (
            bool(adapter_config.target_parameters),
            f"target_parameters is {list(adapter_config.target_parameters or ())}",
        ),
        (adapter_config.trainable_token_indices is not None, "trainable_token_indices is set"),
    ]
    found = [text for wrong, text in problems if wrong]
    if found:
        raise InputError(f"The adapter cannot be served: {'; '.join(found)}; train plain LoRA without these.")
    check_rank(adapter_config.r, max_rank=max_rank)
    if base.modules:
        _check_targets(adapter_config.target_modules, base=base)


def _check_targets(targets: str | tuple[str, ...], *, base: BaseModelFiles) -> None:
    """Read the targets as PEFT does: a name stands for every module that ends in it, a text is a pattern."""
    if targets == ALL_LINEAR:
        return
    if isinstance(targets, str):
        try:
            foreign = [] if any(re.fullmatch(targets, module) for module in base.modules) else [targets]
        except re.error as error:
            raise InputError(
                f"The target modules {targets!r} are no pattern: {error}; correct it or name modules."
            ) from error
    else:
        foreign = [name for name in targets if not any(f".{module}".endswith(f".{name}") for module in base.modules)]
    if foreign:
        raise InputError(
            f"The adapter targets {_few(foreign)}, which the base model {base.name} lacks; name its modules."
        )


def check_rank(rank: int, *, max_rank: int) -> None:
    """Refuse a rank that the server will not load.

    Raises:
        InputError: The rank is above `max_rank`.
    """
    if rank > max_rank:
        raise InputError(
            f"The adapter's rank {rank} is above the highest rank served, {max_rank}; "
            f"train with rank {max_rank} or raise max_rank."
        )


def check_tensors(tensors: Mapping[str, TensorInfo], *, rank: int, base: BaseModelFiles) -> tuple[str, ...]:
    """Hold an adapter's tensors against the base model's own weights; names and sizes decide whether it fits.

    Returns:
        The last parts of the names of the adapted modules, sorted.

    Raises:
        InputError: A tensor is no half of a LoRA pair, its module is not in the base model, or a size differs.
    """
    if not tensors:
        raise InputError("The adapter holds no tensors; export it again.")
    foreign = [name for name in tensors if not (name.startswith(_PREFIX) and name.endswith((_A, _B)))]
    if foreign:
        raise InputError(
            f"The adapter holds tensors that are no LoRA pair: {_few(foreign)}; only plain LoRA can be served."
        )
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        half = _A if name.endswith(_A) else _B
        pairs.setdefault(name.removeprefix(_PREFIX).removesuffix(half), {})[half] = tensor.shape
    halves = [module for module, pair in pairs.items() if len(pair) != 2]
    if halves:
        raise InputError(f"The adapter lacks one half of the LoRA pair of {_few(halves)}; export it again.")
    if base.modules:
        absent = [module for module in pairs if module not in base.modules]
        if absent:
            raise InputError(f"The adapter was made for another base model: {base.name} has no {_few(absent)}.")
        _check_sizes(pairs, rank=rank, base=base)
    return tuple(sorted({module.rpartition(".")[2] for module in pairs}))


def _check_sizes(pairs: Mapping[str, Mapping[str, tuple[int, ...]]], *, rank: int, base: BaseModelFiles) -> None:
    for module, pair in sorted(pairs.items()):
        out_features, in_features = base.modules[module]
        for half, wanted in ((_A, (rank, in_features)), (_B, (out_features, rank))):
            if pair[half] != wanted:
                raise InputError(
                    f"The adapter does not fit the base model {base.name}: {module}{half} has the shape "
                    f"{list(pair[half])}, {list(wanted)} is needed; use the base model it was trained on."
                )


def check_manifest(manifest: AdapterManifest, *, max_rank: int, base: BaseModelFiles) -> None:
    """Refuse a published version that this server's base model or rank limit does not allow.

    Raises:
        InputError: The version was made for another base model, or its rank is above `max_rank`.
    """
    if manifest.base_fingerprint != base.fingerprint:
        raise InputError(
            f"The adapter {manifest.ref} was made for {manifest.base_model} ({manifest.base_fingerprint[:19]}), "
            f"the base model is {base.name} ({base.fingerprint[:19]}); serve it on its own base model."
        )
    check_rank(manifest.rank, max_rank=max_rank)


def check_verified(manifest: AdapterManifest) -> None:
    """Refuse a version whose training was told to leave the engine check out.

    Raises:
        InputError: It is marked unverified.
    """
    if manifest.unverified:
        raise InputError(
            f"The adapter {manifest.ref} is unverified, for its training left the engine check out; train it again "
            "without --skip-engine-check, or set serve.allow_unverified to serve it as it is."
        )


def _few(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
