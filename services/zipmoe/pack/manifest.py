"""Manifest: the table of contents of a pack, and the last file that is written into it.

magic (8) | format version (4) | xxh3_64 of the body (8) | body (msgpack)
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
from xxhash import xxh3_64_intdigest

from zipmoe.errors import CorruptExpert, InvalidRequest
from zipmoe.pack.blob import CODE_BITS, Blob
from zipmoe.pack.disk import write_durably
from zipmoe.pack.geometry import Geometry

MANIFEST = "manifest"
EXPERTS = "experts.bin"
DENSE = "dense.bin"
VERSION = 4

_MAGIC = b"ZIPMOEPK"
_HEAD = struct.Struct("<8sIQ")


class DenseTensor(NamedTuple):
    """`bits` are those of the codes that inference keeps it in, 0 for BF16: a matrix is packed if that is smaller."""

    shape: tuple[int, ...]
    blob: Blob

    @property
    def bits(self) -> int:
        return min((0, *CODE_BITS), key=self.blob.resident_bytes) if len(self.shape) == 2 else 0

    @property
    def resident_bytes(self) -> int:
        return self.blob.resident_bytes(self.bits)


@dataclass(frozen=True, slots=True)
class Manifest:
    """`fingerprint` names the model, whatever the codec: equal for packs of equal checkpoints. `files` are the xxh3_64
    of the small files beside it."""

    codec: str
    fingerprint: str
    geometry: Geometry
    experts: tuple[tuple[Blob, ...], ...]  # [layer][expert]
    dense: Mapping[str, DenseTensor]
    files: Mapping[str, int]

    def end(self, file: str) -> int:
        """Bytes that EXPERTS or DENSE must have."""
        dense = (tensor.blob for tensor in self.dense.values())
        blobs = (blob for layer in self.experts for blob in layer) if file == EXPERTS else dense
        return max((blob.end for blob in blobs), default=0)


def save(manifest: Manifest, folder: Path) -> None:
    """Write it whole or not at all, and onto the disk."""
    sizes = manifest.geometry
    body = msgpack.packb(
        {
            "codec": manifest.codec,
            "fingerprint": manifest.fingerprint,
            "geometry": [sizes.family, list(sizes.sparse), sizes.experts, sizes.hidden, sizes.intermediate],
            "experts": [[blob.to_wire() for blob in layer] for layer in manifest.experts],
            "dense": {name: [list(shape), blob.to_wire()] for name, (shape, blob) in manifest.dense.items()},
            "files": dict(manifest.files),
        }
    )
    temporary = folder / f"{MANIFEST}.new"
    write_durably(temporary, _HEAD.pack(_MAGIC, VERSION, xxh3_64_intdigest(body)) + body)
    temporary.rename(folder / MANIFEST)


def load(folder: Path) -> Manifest:
    """InvalidRequest if the folder is no pack or a newer one; CorruptExpert if the manifest is damaged."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{folder} is not a pack ({path.name}: {error.strerror}); make one: zipmoe pack") from None
    if text[:8] != _MAGIC[: len(text)]:
        raise InvalidRequest(f"{folder} is not a pack ({path.name} begins otherwise); make one: zipmoe pack")
    if len(text) < _HEAD.size:
        raise _damaged(path, "it is truncated")
    _, version, digest = _HEAD.unpack_from(text)
    if version != VERSION:
        raise InvalidRequest(
            f"{path} has format version {version}, this program reads {VERSION}: update it, or pack again"
        )
    body = memoryview(text)[_HEAD.size :]
    if xxh3_64_intdigest(body) != digest:
        raise _damaged(path, "its hash differs")
    try:
        return _manifest(msgpack.unpackb(body))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"it makes no sense ({error})") from None


def _manifest(body: dict[str, Any]) -> Manifest:
    family, sparse, *rest = body["geometry"]
    sizes = Geometry(family, tuple(sparse), *rest)
    experts = tuple(tuple(Blob.from_wire(blob) for blob in layer) for layer in body["experts"])
    if len(experts) != sizes.layers or any(len(layer) != sizes.experts for layer in experts):
        raise ValueError("experts are missing")
    dense = {name: DenseTensor(tuple(shape), Blob.from_wire(blob)) for name, (shape, blob) in body["dense"].items()}
    return Manifest(body["codec"], body["fingerprint"], sizes, experts, dense, body["files"])


def _damaged(path: Path, why: str) -> CorruptExpert:
    return CorruptExpert(f"{path} is damaged, {why}; copy or pack it again")
