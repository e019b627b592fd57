"""Writer: a synthetic checkpoint as a Hugging Face folder. It is there whole, or not at all."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from zipmoe.errors import DiskFull, InvalidRequest
from zipmoe.pack.checkpoint import INDEX, SINGLE
from zipmoe.pack.disk import free_bytes, mib, sync_folder, write_durably
from zipmoe.synth.layout import Entry
from zipmoe.synth.preset import Preset
from zipmoe.synth.tokenizer import special_tokens, tokenizer
from zipmoe.synth.weights import Weights

# (bytes done, of how many, what is done now)
Progress = Callable[[int, int, str], None]

SHARD = 2 << 30  # bytes of tensors, at most, unless one tensor has more
SMALL_FILES = 16 << 20  # bytes that the other files take, at most


def write(preset: Preset, seed: int, destination: str | os.PathLike[str], progress: Progress) -> int:
    """Make the folder `destination` and return the bytes of its tensors.

    InvalidRequest if it exists; DiskFull before or in the middle, and then nothing is left of it."""
    target = Path(destination).absolute()
    if os.path.lexists(target):
        raise InvalidRequest(f"{target} exists: remove it, or name another folder")
    weights = Weights(preset, seed)
    total = sum(entry.size for entry in weights.entries.values())
    target.parent.mkdir(parents=True, exist_ok=True)
    free = free_bytes(target.parent)
    if total + SMALL_FILES > free:
        raise DiskFull(
            f"{target} takes {mib(total)}, {mib(free)} are free on its disk: make room, or ask for fewer layers"
        )
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    try:
        partial.chmod(0o755)
        _write_tensors(weights, partial, total, progress)
        _write_small_files(preset, seed, partial)
        sync_folder(partial)
        partial.rename(target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"the disk of {target} became full: make room, and run the same command again") from None
        raise
    sync_folder(target.parent)
    return total


def _write_tensors(weights: Weights, folder: Path, total: int, progress: Progress) -> None:
    shards = _shards(list(weights.entries.values()))
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    names = names if len(names) > 1 else [SINGLE]
    done = 0
    for name, entries in zip(names, shards, strict=True):
        with (folder / name).open("wb", buffering=0) as file:
            _write_all(file.fileno(), memoryview(_header(entries)))
            for entry in entries:
                for chunk in weights.chunks(entry):
                    _write_all(file.fileno(), chunk.data.cast("B"))
                    done += chunk.nbytes
                    progress(done, total, name)
            os.fsync(file.fileno())
    if len(names) > 1:
        places = {entry.name: name for name, entries in zip(names, shards, strict=True) for entry in entries}
        _write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _shards(entries: Sequence[Entry]) -> list[list[Entry]]:
    shards: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if shards[-1] and size + entry.size > SHARD:
            shards.append([])
            size = 0
        shards[-1].append(entry)
        size += entry.size
    return shards


def _header(entries: Sequence[Entry]) -> bytes:
    """A shard's first bytes: the length of what follows, then names, shapes and places, filled up to 8 bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        header[entry.name] = {"dtype": "BF16", "shape": entry.shape, "data_offsets": (end, end + entry.size)}
        end += entry.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_small_files(preset: Preset, seed: int, folder: Path) -> None:
    config, special = dict(preset.config), special_tokens(preset.config)
    _write_json(folder / "config.json", config | {"zipmoe_synth": {"like": preset.name, "seed": seed}})
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in config}
    _write_json(folder / "generation_config.json", {"do_sample": False} | ends)
    write_durably(folder / "tokenizer.json", tokenizer(config).to_str().encode())
    _write_json(
        folder / "tokenizer_config.json",
        {
            "eos_token": special[config["eos_token_id"]],
            "model_max_length": config["max_position_embeddings"],
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )


def _write_json(path: Path, value: object) -> None:
    write_durably(path, json.dumps(value, indent=2).encode() + b"\n")


def _write_all(fd: int, view: memoryview) -> None:
    while view:
        view = view[os.write(fd, view) :]
