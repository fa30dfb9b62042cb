"""Reads what a safetensors file says about its tensors without loading one (and without torch)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import InputError

# The limit of the safetensors reference implementation.
_MAX_HEADER_BYTES = 100_000_000
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as its file describes it.

    Attributes:
        dtype: The format's name of the number type, such as "BF16".
        shape: Sizes of the dimensions; for a linear layer's weight (out features, in features).
        start: Byte offset of the data from the beginning of the file.
        end: Byte offset behind the data.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_tensor_headers(path: Path) -> dict[str, TensorInfo]:
    """Describe every tensor of one safetensors file.

    Raises:
        InputError: The file cannot be read, or is not a whole safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(_LENGTH.size)
            if len(prefix) < _LENGTH.size:
                raise _broken(path, "it is shorter than a header")
            (length,) = _LENGTH.unpack(prefix)
            if length > min(_MAX_HEADER_BYTES, size - _LENGTH.size):
                raise _broken(path, f"its header claims {length} bytes")
            raw = file.read(length)
    except OSError as error:
        raise InputError(f"Cannot read the tensor file {path}: {error.strerror or error}.") from error
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise _broken(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _broken(path, "its header is not an object")
    data_start = _LENGTH.size + length
    return {
        name: _tensor_info(path, name, entry, data_start=data_start, size=size)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _tensor_info(path: Path, name: str, entry: object, *, data_start: int, size: int) -> TensorInfo:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if (
            0 <= begin <= end <= size - data_start and all(isinstance(length, int) for length in shape)
        ):
            return TensorInfo(dtype=dtype, shape=tuple(shape), start=data_start + begin, end=data_start + end)
        case _:
            raise _broken(path, f"tensor {name!r} is described wrongly or cut off")


def linear_shapes(tensors: Mapping[str, TensorInfo]) -> dict[str, tuple[int, int]]:
    """Pick the two-dimensional weights: module path without ".weight" to (out features, in features)."""
    shapes: dict[str, tuple[int, int]] = {}
    for name, tensor in tensors.items():
        if name.endswith(".weight") and len(tensor.shape) == 2:
            shapes[name.removesuffix(".weight")] = (tensor.shape[0], tensor.shape[1])
    return shapes


def _broken(path: Path, why: str) -> InputError:
    return InputError(f"{path} is not a whole safetensors file: {why}; copy or export it again.")
