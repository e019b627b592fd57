"""Shard: one safetensors file. Only its header is ours; the bytes behind it are read by ranges."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zipmoe.errors import CorruptExpert

HEADER_LIMIT = 100_000_000  # the format's own
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a checkpoint's tensor lies: `size` bytes at `offset` of the file at `path`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int
    size: int


def tensors(path: Path) -> list[Tensor]:
    """The tensors of a shard, in the order of their bytes. CorruptExpert if the file is not exactly what the format
    allows: header within the file, tensors side by side without hole or overlap, and nothing behind the last."""
    with path.open("rb") as file:
        actual = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if actual < 8 or length > HEADER_LIMIT or 8 + length > actual:
            raise _damaged(path, f"its header should have {length} bytes, and the file has {actual}")
        header = _parse(path, file.read(length))
    found = sorted(
        (_tensor(path, name, entry, 8 + length) for name, entry in header.items() if name != "__metadata__"),
        key=lambda tensor: (tensor.offset, tensor.size),
    )
    end = 8 + length
    for tensor in found:
        if tensor.offset != end:
            raise _damaged(path, f"{tensor.name} starts at {tensor.offset}, the tensor before it ends at {end}")
        end += tensor.size
    if end != actual:
        raise _damaged(path, f"it should have {end} bytes, and has {actual}")
    return found


def _parse(path: Path, text: bytes) -> Mapping[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(table := dict(pairs)) != len(pairs):
            raise ValueError("a name occurs twice")
        return table

    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    return header


def _tensor(path: Path, name: str, entry: Any, start: int) -> Tensor:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        sound = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        if not sound or end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise _damaged(path, f"its header describes {name} as {entry}") from None
    return Tensor(name, dtype, shape, path, start + begin, end - begin)


def _damaged(path: Path, why: str) -> CorruptExpert:
    return CorruptExpert(f"{path} is damaged or truncated: {why}; download it again")
