"""Making: the files that contestants read, all of the same words; and their going when nobody needs them any more."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.gguf_file import convert
from benchmarks.peers.model import Model
from zipmoe.pack.writer import pack
from zipmoe.synth.writer import write


def ensure(model: Model, weights: Path) -> None:
    """Makes what is not there, and the checkpoint first if that is gone."""
    if _complete(weights):
        return
    if not model.checkpoint.exists():
        _say(model.checkpoint)
        write(model.preset, 0, model.checkpoint, lambda *_: None)
    if weights == model.checkpoint:
        return
    _say(weights)
    if (free := shutil.disk_usage(weights.parent).free) < model.size:
        raise SystemExit(f"{weights} takes {model.size / 1e9:.1f} GB, {free / 1e9:.1f} are free: make room, and go on")
    _maker(model, weights)(model.checkpoint, weights)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _maker(model: Model, weights: Path) -> Callable[[Path, Path], object]:
    if weights == model.gguf:
        return convert
    if weights == model.offloaded:
        return _offload
    codec = weights.stem.removeprefix(f"{model.name}-")
    return lambda source, target: pack(source, target, codec)


def _offload(checkpoint: Path, folder: Path) -> None:
    """By transformers, in a process of its own that can be rid of."""
    partial = folder.with_name(folder.name + ".partial")
    remove(partial)
    command = [sys.executable, "-m", "benchmarks.peers.offloading", str(checkpoint), str(partial)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    partial.rename(folder)


def _complete(path: Path) -> bool:
    return (path / "manifest").exists() if path.suffix == ".zipmoe" else path.exists()


def _say(path: Path) -> None:
    free = shutil.disk_usage(path.parent).free / 1e9
    print(f"making {path.name}, {free:.0f} GB are free", flush=True)
