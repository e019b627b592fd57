"""Need: the bytes that a model will take, and whether there is room for them, before the first is fetched."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zipmoe.errors import DiskFull

# Of a checkpoint's bytes, what its pack has. Weights of models compress alike; the writer measures before it begins.
SHARES: Final[Mapping[str, float]] = {"zstd": 0.71, "pack3": 0.72, "pack4": 0.76, "lz4": 0.83, "raw": 1.0}
SPARE: Final = 1.03


@dataclass(frozen=True, slots=True)
class File:
    """Of a checkpoint. `here` if it is in the cache already."""

    name: str
    size: int
    here: bool

    @property
    def is_shard(self) -> bool:
        return self.name.endswith(".safetensors")


@dataclass(frozen=True, slots=True)
class Disk:
    """`device` is the same for folders that share their room."""

    folder: Path
    device: int
    free: int


@dataclass(frozen=True, slots=True)
class Need:
    """`fetch` are bytes for the cache, of which `here` are there; `pack` are those still to be written of the pack."""

    fetch: int
    here: int
    pack: int

    @classmethod
    def of(cls, files: Iterable[File], codec: str | None, packed: int = 0) -> "Need":
        """`codec` is None if there is to be no pack; `packed` bytes are there of one that was interrupted."""
        files = tuple(files)
        shards = sum(file.size for file in files if file.is_shard)
        here = sum(file.size for file in files if file.here)
        pack = int(SPARE * SHARES[codec] * shards) if codec else 0
        return cls(sum(file.size for file in files) - here, here, max(pack - packed, 0))


def check_room(need: Need, cache: Disk, packs: Disk) -> None:
    """DiskFull, with what to do, if it will not all fit."""
    if cache.device == packs.device:
        both = need.fetch + need.pack
        if both > cache.free:
            raise DiskFull(
                f"{size(both)} are needed, {size(need.fetch)} to fetch and about {size(need.pack)} to pack, and "
                f"{size(cache.free)} are free on the disk of {cache.folder}: make room, let HF_HOME name a folder on "
                "another disk, or pack to a DESTINATION on one"
            )
        return
    if need.fetch > cache.free:
        raise DiskFull(
            f"{size(need.fetch)} are to be fetched, and {size(cache.free)} are free on the disk of {cache.folder}: "
            "make room, or let HF_HOME name a folder on another disk"
        )
    if need.pack > packs.free:
        raise DiskFull(
            f"the pack needs about {size(need.pack)}, and {size(packs.free)} are free on the disk of {packs.folder}: "
            "make room, or pack to a DESTINATION on another disk"
        )


def size(count: int) -> str:
    """Bytes, as a person reads them."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.1f} MiB"
