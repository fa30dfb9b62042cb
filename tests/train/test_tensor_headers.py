from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from indexer.errors import InputError
from train.tensor_headers import TensorInfo, linear_shapes, read_tensor_headers


def test_names_shapes_and_places_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_file({"one.weight": values, "two.bias": np.ones(5, dtype=np.float16)}, path, metadata={"format": "pt"})
    tensors = read_tensor_headers(path)
    assert {name: (t.dtype, t.shape) for name, t in tensors.items()} == {
        "one.weight": ("F32", (2, 3)),
        "two.bias": ("F16", (5,)),
    }
    one = tensors["one.weight"]
    assert path.read_bytes()[one.start : one.end] == values.tobytes()


def test_linear_shapes_leave_everything_else_out() -> None:
    tensors = {
        "a.weight": TensorInfo("F32", (2, 3), 0, 24),
        "norm.weight": TensorInfo("F32", (3,), 0, 12),
        "a.bias": TensorInfo("F32", (2, 3), 0, 24),
    }
    assert linear_shapes(tensors) == {"a": (2, 3)}


@pytest.mark.parametrize(
    "header", [b"{", b"[]", b'{"a": 1}', b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}']
)
def test_a_broken_header_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        read_tensor_headers(path)


@given(content=st.binary(max_size=64))
def test_no_bytes_bring_anything_but_a_clear_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert all(0 < tensor.start <= tensor.end <= len(content) for tensor in read_tensor_headers(path).values())


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read the tensor file"):
        read_tensor_headers(tmp_path / "none.safetensors")
