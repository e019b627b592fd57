"""Checkpoint: a Hugging Face folder, as the writer and `verify --against` read it."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from zipmoe.errors import CorruptExpert, InvalidRequest
from zipmoe.pack import shard
from zipmoe.pack.file import LONGEST_READ
from zipmoe.pack.shard import Tensor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class Checkpoint:
    """An open checkpoint: `config` and every tensor's place; bytes are read when asked for, by ranges.

    InvalidRequest if the folder is no BF16 checkpoint in safetensors, CorruptExpert if a shard is damaged."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.config_bytes = _read(self.folder / "config.json")
        self.config = _json(self.folder / "config.json", self.config_bytes)
        self.shards = _shards(self.folder)
        self.tensors = _tensors(self.folder, self.shards)
        self._open = ExitStack()
        self._fds: dict[Path, int] = {}

    def __enter__(self) -> "Checkpoint":
        for path in self.shards:
            self._fds[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._open.callback(os.close, self._fds[path])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def read_into(self, tensor: Tensor, at: int, view: memoryview) -> None:
        """Fill `view` with the tensor's bytes from its byte `at`. CorruptExpert if the shard has shrunk meanwhile."""
        done = 0
        while done < len(view):
            offset = tensor.offset + at + done
            got = os.preadv(self._fds[tensor.path], [view[done : done + LONGEST_READ]], offset)
            if got == 0:
                raise CorruptExpert(f"{tensor.path} ended at {offset}, within {tensor.name}; download it again")
            done += got


def _tensors(folder: Path, shards: Mapping[Path, frozenset[str]]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path, promised in shards.items():
        here = {tensor.name: tensor for tensor in shard.tensors(path)}
        if missing := promised - here.keys():
            raise InvalidRequest(f"{folder / INDEX} says {path.name} has {_few(missing)}: not so; download both again")
        if twice := found.keys() & here.keys():
            raise InvalidRequest(f"{path} has {_few(twice)}, and another shard too; download the checkpoint again")
        found |= here
    for tensor in found.values():
        check_words(tensor)
    return found


def check_words(tensor: Tensor) -> None:
    """InvalidRequest if the tensor is of numbers that cannot be packed."""
    # A router's bias is kept in FP32 beside weights in BF16. Its words are packed as any others.
    if tensor.dtype == "BF16" or (tensor.dtype == "F32" and len(tensor.shape) == 1):
        return
    if tensor.dtype in ("F16", "F32"):
        raise InvalidRequest(
            f"{tensor.path}: {tensor.name} is {tensor.dtype}. FP{tensor.dtype[1:]} has no lossless split here yet: "
            "convert the checkpoint with its author's tool, or use a BF16 checkpoint"
        )
    raise InvalidRequest(f"{tensor.path}: {tensor.name} is {tensor.dtype}; use a BF16 checkpoint")


def _shards(folder: Path) -> dict[Path, frozenset[str]]:
    """The shards, and which tensors the index promises of each."""
    if not (folder / INDEX).exists():
        if not (folder / SINGLE).exists():
            raise InvalidRequest(f"{folder} has neither {SINGLE} nor {INDEX}: give a Hugging Face folder (safetensors)")
        return {folder / SINGLE: frozenset()}
    places = _places(folder / INDEX)
    shards: dict[Path, frozenset[str]] = {}
    for file in sorted(set(places.values())):
        if file != Path(file).name or not (folder / file).exists():
            raise InvalidRequest(f"{folder / INDEX} names the shard {file!r}, and it is not there; download it too")
        shards[folder / file] = frozenset(name for name, place in places.items() if place == file)
    return shards


def shard_names(index: Path) -> list[str]:
    """The shards that an index names, whether they are there or not."""
    return sorted(set(_places(index).values()))


def _places(index: Path) -> dict[str, str]:
    """The shard of each tensor."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise InvalidRequest(f"{index} has no weight_map of tensor names to file names; download it again")
    return places


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. InvalidRequest if it is none."""
    return _json(path, _read(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read ({error.strerror}): give a Hugging Face folder") from None


def _json(path: Path, text: bytes) -> dict[str, Any]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not JSON ({error}); download it again") from None
    if not isinstance(table, dict):
        raise InvalidRequest(f"{path} is not a JSON object; download it again")
    return table


def _few(names: frozenset[str] | set[str]) -> str:
    """Some names, for a message."""
    first = ", ".join(sorted(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"
