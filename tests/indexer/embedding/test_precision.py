from __future__ import annotations

import numpy as np
import pytest
import torch

from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EMBEDDED_NAME
from indexer.embedding.precision import Precision, choose_precision, multiplies_bfloat16, multiplying, round_weights
from indexer.errors import InputError
from indexer.settings import EmbedDtype
from tests.indexer.embedding.test_embedder import TEXTS


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [
        ("cuda", True, "bfloat16"),
        ("cuda", False, "float16"),
        ("cpu", True, "bfloat16"),
        ("cpu", False, "float32"),
        ("mps", False, "float32"),
    ],
)
def test_auto_follows_what_the_device_can(device: str, native: bool, expected: Precision) -> None:
    assert choose_precision("auto", device=device, native_bfloat16=native) == expected


@pytest.mark.parametrize("asked", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("native", [True, False])
def test_what_is_asked_for_is_taken(asked: EmbedDtype, device: str, native: bool) -> None:
    assert choose_precision(asked, device=device, native_bfloat16=native) == asked


@pytest.mark.parametrize(
    ("able", "expected"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_the_processor_is_asked(monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], expected: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert multiplies_bfloat16(torch.device("cpu")) is expected


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)]
)
def test_matrices_are_multiplied_in_it(precision: Precision, dtype: torch.dtype) -> None:
    with multiplying(torch.device("cpu"), precision):
        assert torch.mm(torch.ones(4, 4), torch.ones(4, 4)).dtype == dtype


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_weights_that_are_rounded_once_give_the_same_vectors(precision: Precision) -> None:
    embedder = Embedder(EMBEDDED_NAME, "cpu", dtype="float32")
    embedder.precision = precision
    rounded_each_time = embedder.encode_documents(TEXTS)
    round_weights(embedder._model, precision)
    assert np.array_equal(embedder.encode_documents(TEXTS), rounded_each_time)


def test_float16_is_nearer_to_float32_than_bfloat16_is() -> None:
    made = {dtype: Embedder(EMBEDDED_NAME, "cpu", dtype=dtype) for dtype in ("float32", "float16", "bfloat16")}
    assert {dtype: embedder.precision for dtype, embedder in made.items()} == {dtype: dtype for dtype in made}
    assert len({embedder.identity for embedder in made.values()}) == 1
    vectors = {dtype: embedder.encode_documents(TEXTS) for dtype, embedder in made.items()}
    assert vectors["float16"].dtype == np.float32
    near = {dtype: float((vectors["float32"] * found).sum(axis=1).min()) for dtype, found in vectors.items()}
    assert near["float16"] > 0.9999
    assert near["bfloat16"] < near["float16"]


def test_a_model_beyond_the_range_of_float16_is_refused_with_what_to_set() -> None:
    wide = Embedder(EMBEDDED_NAME, "cpu", dtype="float16")
    with torch.no_grad():
        for name, weight in wide._model.named_parameters():
            if name.endswith("intermediate.dense.weight"):
                weight.mul_(4e4)  # the weights fit, the sums do not
    with pytest.raises(InputError, match=r"multiplies in float16; set indexer.embed_dtype to bfloat16 or float32"):
        wide.encode_documents(TEXTS)
    wide.precision = "bfloat16"
    assert np.isfinite(wide.encode_documents(TEXTS)).all()
