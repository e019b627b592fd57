"""Sample: a few of a pack's own experts, in memory or as a checkpoint to be packed in any codec."""

import itertools
import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zipmoe.pack.checkpoint import SINGLE
from zipmoe.pack.codec import codec
from zipmoe.pack.family import FAMILIES
from zipmoe.pack.reader import Pack
from zipmoe.pack.restore import Scratch
from zipmoe.profile.form import bring

# Only the weights matter, so any family's names will do.
SAMPLE_FAMILY: Final = "olmoe"

# More experts, where they are wanted, have the same bits in other memory.
DISTINCT: Final = 4


def memory(size: int) -> memoryview:
    """Mapped memory starts on a page, as reading past the page cache needs."""
    return memoryview(mmap.mmap(-1, size))


def slots(pack: Pack, bits: int) -> Iterator[memoryview]:
    """DISTINCT experts from all of the layers, or as many as there are, each in new memory and in this form.

    CorruptExpert if one is damaged."""
    blobs = [blob for layer in pack.manifest.experts for blob in layer]
    how = codec(pack.codec)
    with Scratch() as scratch:
        for blob in blobs[:: -(-len(blobs) // DISTINCT)]:
            slot = memory(blob.resident_bytes(bits))
            bring(pack.experts_file, blob, how, bits, slot, scratch)
            yield slot


def write_checkpoint(pack: Pack, folder: Path, experts: int, most_weights: int) -> None:
    """Makes `folder`, a checkpoint of one layer of so many experts. They are the pack's, cut off at so many weights."""
    family = FAMILIES[SAMPLE_FAMILY]
    inner = min(pack.geometry.weights, most_weights) // 3
    folder.mkdir()
    sizes = {family.layers: 1, family.experts: experts, family.hidden: 1, family.intermediate: inner}
    (folder / "config.json").write_text(json.dumps({"model_type": SAMPLE_FAMILY, **sizes}))
    names = (f"{family.expert(0, expert)}{part}.weight" for expert in range(experts) for part in family.parts)
    shapes = itertools.cycle(([inner, 1], [inner, 1], [1, inner]))
    header = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [2 * inner * place, 2 * inner * (place + 1)]}
        for place, (name, shape) in enumerate(zip(names, shapes, strict=False))
    }
    text = json.dumps(header).encode()
    runs = [slot[: 6 * inner] for slot in itertools.islice(slots(pack, bits=0), experts)]
    with (folder / SINGLE).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(itertools.islice(itertools.cycle(runs), experts))
