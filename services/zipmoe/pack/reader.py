"""Pack: an opened pack. It knows where every tensor lies; `restore` brings one into memory."""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from xxhash import xxh3_64_intdigest

from zipmoe.errors import CorruptExpert, UnknownExpert
from zipmoe.pack import manifest
from zipmoe.pack.blob import Blob
from zipmoe.pack.file import PackFile
from zipmoe.pack.geometry import Geometry
from zipmoe.pack.manifest import DENSE, EXPERTS, DenseTensor, Manifest


class Pack:
    """A manifest and the two files it speaks of, held open until the `with` ends."""

    def __init__(self, path: Path, contents: Manifest, experts: PackFile, dense: PackFile, held: ExitStack) -> None:
        self.path = path
        self.manifest = contents
        self.experts_file = experts
        self.dense_file = dense
        self._held = held

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Pack":
        """InvalidRequest if `path` is no pack or a newer one; CorruptExpert if the manifest is damaged or a weight file
        is not as long as it was. The weights themselves are checked as they are read."""
        folder = Path(path).absolute()
        contents = manifest.load(folder)
        with ExitStack() as held:
            experts, dense = (held.enter_context(_file(folder / name, contents.end(name))) for name in (EXPERTS, DENSE))
            return cls(folder, contents, experts, dense, held.pop_all())

    def __enter__(self) -> "Pack":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._held.close()

    @property
    def geometry(self) -> Geometry:
        return self.manifest.geometry

    @property
    def fingerprint(self) -> str:
        """Names the model, in hex: the same for every codec."""
        return self.manifest.fingerprint

    def part_bytes(self, bits: int) -> int:
        """Bytes of the largest expert's exponents in codes of so many bits."""
        return max(blob.part_bytes(bits) for layer in self.manifest.experts for blob in layer)

    @property
    def dense(self) -> Mapping[str, DenseTensor]:
        """(shape, blob) of every tensor that is no expert's, by its name in the checkpoint; they lie in dense_file."""
        return self.manifest.dense

    @property
    def codec(self) -> str:
        """The name of the codec of every blob."""
        return self.manifest.codec

    @property
    def experts_path(self) -> Path:
        return self.experts_file.path

    @property
    def dense_path(self) -> Path:
        return self.dense_file.path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The checkpoint's config.json. CorruptExpert if it is not as it was packed."""
        config: dict[str, Any] = json.loads(self.small_file("config.json"))
        return config

    def small_file(self, name: str) -> bytes:
        """A file that was copied from the checkpoint. CorruptExpert if it is not as it was packed."""
        path = self.path / name
        try:
            text = path.read_bytes()
        except OSError as error:
            raise CorruptExpert(f"{path} cannot be read ({error.strerror}); copy or pack it again") from None
        if xxh3_64_intdigest(text) != self.manifest.files.get(name):
            raise CorruptExpert(f"{path} was changed since it was packed; copy or pack it again")
        return text

    def small_file_if_any(self, name: str) -> bytes | None:
        """Likewise; None if the checkpoint had no such file."""
        return self.small_file(name) if name in self.manifest.files else None

    def expert(self, layer: int, expert: int) -> Blob:
        """Where an expert lies in experts_file. UnknownExpert if the model has no such expert."""
        sizes = self.geometry
        if not (0 <= layer < sizes.layers and 0 <= expert < sizes.experts):
            raise UnknownExpert(
                f"layer {layer}, expert {expert}: {self.path} has {sizes.layers} layers of {sizes.experts} experts"
            )
        return self.manifest.experts[layer][expert]


def _file(path: Path, expected: int) -> PackFile:
    try:
        file = PackFile(path)
    except OSError as error:
        raise CorruptExpert(f"{path} cannot be opened ({error.strerror}); copy or pack it again") from None
    if (size := file.size) != expected:
        file.close()
        raise CorruptExpert(f"{path} should have {expected} bytes, and has {size}; copy or pack it again")
    return file
