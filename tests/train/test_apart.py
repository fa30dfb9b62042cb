from __future__ import annotations

from pathlib import Path

import pytest
from transformers import (
    AutoModelForCausalLM,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    OpenAIGPTConfig,
    PreTrainedConfig,
    Qwen3NextConfig,
    masking_utils,
)

from indexer.errors import InputError
from train.apart import check_masks_are_known, mixed_share


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (MambaConfig(num_hidden_layers=2), "carries a state from token to token and"),
        (Qwen3NextConfig(), "carries a state .* layers of linear_attention"),
        (Lfm2Config(num_hidden_layers=2, layer_types=["conv", "full_attention"]), "has layers of conv, so"),
        (OpenAIGPTConfig(), "does not take its masks from transformers, so"),
    ],
)
def test_a_model_whose_masks_are_not_told_is_refused(tmp_path: Path, config: PreTrainedConfig, says: str) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"odd cannot learn packed rows: it {says}"):
        check_masks_are_known(tmp_path, name="odd")


def test_a_model_with_sliding_windows_is_taken(tmp_path: Path) -> None:
    LlamaConfig(layer_types=["sliding_attention"] * 2, num_hidden_layers=2).save_pretrained(tmp_path)
    check_masks_are_known(tmp_path, name="plain")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_border_keeps_rows_apart_in_either_number_type(tiny_base_folder: Path, dtype: str, attention: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype=dtype, attn_implementation=attention)
    assert mixed_share(model.eval(), vocabulary=model.config.vocab_size) < 0.03


def test_a_border_that_is_not_seen_shows(tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype="float32").eval()
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda position_ids: None)
    assert mixed_share(model, vocabulary=model.config.vocab_size) > 0.3
