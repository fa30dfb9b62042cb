from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from indexer.errors import InputError
from tests.train.conftest import AdapterMaker
from train.base_model import BaseModelFiles
from train.registry import (
    AdapterRegistry,
    Provenance,
    check_manifest,
    check_servable,
    check_tensors,
    read_adapter_config,
)
from train.registry.publishing import publish_adapter
from train.tensor_headers import TensorInfo, read_tensor_headers


def test_a_plain_adapter_passes(make_adapter: AdapterMaker, small_base: BaseModelFiles) -> None:
    folder = make_adapter(rank=4)
    check_servable(read_adapter_config(folder), max_rank=4, base=small_base)
    tensors = read_tensor_headers(folder / "adapter_model.safetensors")
    assert check_tensors(tensors, rank=4, base=small_base) == ("q_proj", "up_proj")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("modules_to_save", ["lm_head"], "modules_to_save is ['lm_head']"),
        ("use_dora", True, "use_dora"),
        ("bias", "all", "bias='all'"),
        ("lora_bias", True, "biases"),
        ("rank_pattern", {"q_proj": 2}, "rank_pattern"),
        ("alpha_pattern", {"q_proj": 2}, "alpha_pattern"),
        ("target_parameters", ["experts.w"], "target_parameters"),
        ("trainable_token_indices", [1], "trainable_token_indices"),
        ("peft_type", "IA3", "'IA3'"),
        ("target_modules", ["query_key_value"], "query_key_value"),
        ("target_modules", ["proj"], "proj"),
        ("target_modules", ".*attention.*", "attention"),
        ("target_modules", "(", "no pattern"),
    ],
)
def test_what_the_engine_cannot_serve_is_refused(
    make_adapter: AdapterMaker, small_base: BaseModelFiles, field: str, value: object, says: str
) -> None:
    config = read_adapter_config(make_adapter(**{field: value}))
    with pytest.raises(InputError) as caught:
        check_servable(config, max_rank=64, base=small_base)
    assert says in str(caught.value)


@pytest.mark.parametrize("targets", [["q_proj"], ["self_attn.q_proj"], "all-linear", r".*\.layers\.0\..*_proj"])
def test_the_ways_to_name_modules_pass(
    make_adapter: AdapterMaker, small_base: BaseModelFiles, targets: list[str] | str
) -> None:
    check_servable(read_adapter_config(make_adapter(target_modules=targets)), max_rank=64, base=small_base)


def test_a_rank_above_the_limit_is_refused_with_both_numbers(
    make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    with pytest.raises(InputError, match=r"rank 17 .* 16"):
        check_servable(read_adapter_config(make_adapter(rank=17)), max_rank=16, base=small_base)


def test_the_sizes_of_another_base_are_refused_with_names_and_sizes(
    make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    tensors = read_tensor_headers(make_adapter(hidden=16) / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"up_proj\.lora_A\.weight has the shape \[4, 16\], \[4, 8\] is needed"):
        check_tensors(tensors, rank=4, base=small_base)


def test_a_rank_that_differs_from_the_tensors_is_refused(
    make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    tensors = read_tensor_headers(make_adapter(rank=4) / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"\[4, 8\], \[8, 8\] is needed"):
        check_tensors(tensors, rank=8, base=small_base)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "no tensors"),
        (["base_model.model.lm_head.weight"], "no LoRA pair: base_model.model.lm_head.weight"),
        (["base_model.model.model.norm.lora_magnitude_vector"], "lora_magnitude_vector"),
        (["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"], "lacks one half"),
        (
            [f"base_model.model.model.layers.7.mlp.up_proj.lora_{half}.weight" for half in "AB"],
            "small-base has no model.layers.7.mlp.up_proj",
        ),
    ],
)
def test_foreign_tensors_are_refused(names: list[str], says: str, small_base: BaseModelFiles) -> None:
    tensors = {name: TensorInfo("F32", (4, 8), 0, 128) for name in names}
    with pytest.raises(InputError) as caught:
        check_tensors(tensors, rank=4, base=small_base)
    assert says in str(caught.value)


def test_a_published_adapter_of_another_base_is_refused(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    manifest = publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance())
    check_manifest(manifest, max_rank=4, base=small_base)
    other = dataclasses.replace(small_base, name="other", fingerprint="sha256:" + "0" * 64)
    with pytest.raises(InputError, match="a@1 was made for small-base"):
        check_manifest(manifest, max_rank=4, base=other)
    with pytest.raises(InputError, match="rank 4"):
        check_manifest(manifest, max_rank=2, base=small_base)


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        read_adapter_config(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 0}')
    with pytest.raises(InputError, match=r"configuration of a LoRA adapter: r"):
        read_adapter_config(tmp_path)
