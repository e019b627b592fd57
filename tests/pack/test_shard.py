"""Shards: we read a header as the safetensors library does, and refuse what it refuses."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from tests.pack.checkpoints import Words
from zipmoe.errors import CorruptExpert
from zipmoe.pack.shard import tensors


def library_accepts(path: Path) -> bool:
    try:
        with safe_open(path, "np"):
            return True
    except SafetensorError:
        return False


def ours_accepts(path: Path) -> bool:
    try:
        tensors(path)
    except CorruptExpert:
        return False
    return True


def write(path: Path, header: object, data: int = 0) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))
    return path


def entry(begin: int, end: int, shape: list[int], dtype: str = "BF16") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_agrees_with_the_library(checkpoint: Path, words: Words) -> None:
    path = checkpoint / "model.safetensors"
    found = {tensor.name: tensor for tensor in tensors(path)}
    with safe_open(path, "pt") as library:
        assert set(library.keys()) == set(found)
        for name, tensor in found.items():
            assert tuple(library.get_slice(name).get_shape()) == tensor.shape
            assert library.get_slice(name).get_dtype() == tensor.dtype
    text = path.read_bytes()
    for name, tensor in found.items():
        assert text[tensor.offset : tensor.offset + tensor.size] == words[name].tobytes()


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"", 0),
        (b"[]", 0),
        (b"{", 0),
        (b"\xff\xff", 0),
        ({"a": entry(0, 4, [2])}, 3),  # truncated
        ({"a": entry(0, 4, [2])}, 5),  # bytes behind the last
        ({"a": entry(0, 4, [3])}, 4),  # shape and size differ
        ({"a": entry(0, 4, [2]), "b": entry(6, 8, [1])}, 8),  # a hole
        ({"a": entry(0, 4, [2]), "b": entry(2, 6, [2])}, 6),  # an overlap
        ({"a": entry(0, 4, [2], "BF17")}, 4),
        ({"a": entry(4, 0, [2])}, 4),
        ({"a": entry(0, 4, [-2])}, 4),
        ({"a": {"dtype": "BF16", "shape": [2]}}, 4),
        ({"a": None}, 0),
    ],
)
def test_refuses_what_the_library_refuses(tmp_path: Path, header: object, data: int) -> None:
    path = write(tmp_path / "a.safetensors", header, data)
    assert not library_accepts(path)
    with pytest.raises(CorruptExpert, match="download it again"):
        tensors(path)


def test_refuses_a_name_that_occurs_twice(tmp_path: Path) -> None:
    one = json.dumps(entry(0, 4, [2]))
    path = write(tmp_path / "a.safetensors", f'{{"a": {one}, "a": {one}}}'.encode(), 4)
    with pytest.raises(CorruptExpert, match="occurs twice"):
        tensors(path)


def test_names_the_sizes_of_a_truncated_shard(tmp_path: Path, checkpoint: Path) -> None:
    text = (checkpoint / "model.safetensors").read_bytes()
    path = tmp_path / "model.safetensors"
    for size in (0, 7, 8, 100, len(text) - 1):
        path.write_bytes(text[:size])
        with pytest.raises(CorruptExpert, match=f"model.safetensors is damaged or truncated: .* {size}"):
            tensors(path)


@given(flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 7)), min_size=1, max_size=3))
@settings(max_examples=200)
def test_never_accepts_a_header_that_the_library_refuses(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    header = {"__metadata__": {"format": "pt"}, "a": entry(0, 4, [2]), "b": entry(4, 24, [2, 5])}
    text = bytearray(write(path, header, 24).read_bytes())
    for at, bit in flips:
        text[at % len(text)] ^= 1 << bit
    path.write_bytes(text)
    assert library_accepts(path) or not ours_accepts(path)
