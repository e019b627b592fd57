"""Tokens per second with everything in memory: ours, experts packed, against llama.cpp in BF16.

    CMAKE_ARGS=-DGGML_NATIVE=ON .venv/bin/pip install -e '.[peers]'
    python -m benchmarks.resident                   (40 GB of disk and 24 GiB of memory; --layers 2 needs 6 GB)

The demo model, and one of random weights in the shape of OLMoE-1B-7B. Both contestants decode the same tokens with the
same weights on the same two threads, each in processes of its own: started, warmed, timed, stopped, in turns, for the
large model fits into memory once. Before anything counts they must agree on the logits.

Prints a table, and merges it into benchmarks/results/kernels.json if no layer was left out: the ratio of the worse
model, medians over rounds. Run it with nothing else on the machine.
"""

import argparse
import asyncio
import importlib
import inspect
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.gguf_file import convert
from benchmarks.llamacpp import PROMPT, THREADS, Timed, measure, measure_llamacpp
from zipmoe.pack.writer import pack
from zipmoe.synth.preset import preset
from zipmoe.synth.writer import write

# torch and zipmoe.inference are imported by our own process alone (see llamacpp.py).

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "kernels.json"
SHAPE, LAYERS = "olmoe-1b-7b", 16
TOKENS = 128
# Of the demo model. What a model of random weights chooses between is noise, and so are, often, its experts.
LEAST_EQUAL, LEAST_CORRELATION = 0.9, 0.99
LEAST_RANDOM_CORRELATION = 0.9


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    pack: Path
    gguf: Path
    stream: list[int]
    rounds: int
    passes: int


@dataclass(frozen=True, slots=True)
class Compared:
    """Of one model. Rates are tokens a second."""

    ours: float
    llamacpp: float
    ratio: float
    argmax_equal: float  # share of the tokens
    correlation: float  # of logits, the token where it is lowest
    pack_bytes: int
    gguf_bytes: int
    contestants: tuple[str, str]


async def measure_ours(weights: Path, stream: Sequence[int], passes: int, logits: Path) -> Timed:
    # It sets what torch reads when it is imported.
    importlib.import_module("zipmoe.inference")
    import torch
    from tests.system.local_model import LocalModel, local_model, on_thread
    from tests.system.stack import Stack

    class Ours:
        def __init__(self, local: LocalModel) -> None:
            self._local = local
            header = local.experts.header
            for layer in range(header.layers):
                for _ in local.experts.walk(layer, dict.fromkeys(range(header.experts), 1.0), ()):
                    pass

        def begin(self, prompt: Sequence[int]) -> None:
            self._text = self._local.text(len(stream))
            self._local.prefill(torch.tensor(prompt), self._text)

        def step(self, token: int) -> NDArray[np.float32]:
            found: NDArray[np.float32] = self._local.decode(token, self._text).float().numpy()
            return found

    def work(local: LocalModel) -> Timed:
        contestant = Ours(local)
        before = local.experts.calls
        header = local.experts.header
        about = f"mode fast, {header.form}, arena of {header.size} bytes"
        timed = measure(contestant, about, stream, passes, logits)
        if local.experts.calls != before:
            raise SystemExit("not all experts stayed resident")
        return timed

    with Stack(weights, arena_size="100%") as stack:
        stack.start("expert_store", "scheduler")
        async with local_model(stack, "fast") as local:
            return await on_thread(work, local)


def demo(work: Path) -> Model:
    source = ROOT / "models" / "demo"
    tokens = Tokenizer.from_file(str(source / "tokenizer.json")).encode(inspect.getsource(textwrap)).ids
    made = Model("demo", work / "demo.zipmoe", work / "demo.gguf", tokens[: PROMPT + TOKENS], rounds=7, passes=5)
    make(made, source)
    return made


def shaped(work: Path, layers: int) -> Model:
    like, name = preset(SHAPE).with_layers(layers), f"{SHAPE}-{layers}-layers"
    stream = np.random.default_rng(0).integers(0, like.config["vocab_size"], PROMPT + TOKENS).tolist()
    made = Model(name, work / f"{name}.zipmoe", work / f"{name}.gguf", stream, rounds=3, passes=1)
    if not (made.pack.exists() and made.gguf.exists()):
        checkpoint = work / name
        if not checkpoint.exists():
            print(f"making {checkpoint}", flush=True)
            write(like, 0, checkpoint, lambda *_: None)
        make(made, checkpoint)
        shutil.rmtree(checkpoint)
    return made


def make(model: Model, checkpoint: Path) -> None:
    for path, by in ((model.pack, pack), (model.gguf, convert)):
        if not path.exists():
            print(f"making {path}", flush=True)
            by(checkpoint, path)


def compare(model: Model) -> Compared:
    pairs, agreement = [], (0.0, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(model.rounds):
            logits = Path(folder) / "ours.npy", Path(folder) / "llamacpp.npy"
            pairs.append((alone("ours", model, model.pack, logits[0]), alone("llamacpp", model, model.gguf, logits[1])))
            if number == 0:
                agreement = agree(model, np.load(logits[0]), np.load(logits[1]))
            ours, theirs = pairs[-1]
            print(f"{model.name}: ours {1 / ours.seconds:.2f}, llama.cpp {1 / theirs.seconds:.2f} tokens/s", flush=True)
    return Compared(
        ours=round(1 / statistics.median(ours.seconds for ours, _ in pairs), 2),
        llamacpp=round(1 / statistics.median(theirs.seconds for _, theirs in pairs), 2),
        ratio=round(statistics.median(theirs.seconds / ours.seconds for ours, theirs in pairs), 3),
        argmax_equal=agreement[0],
        correlation=agreement[1],
        pack_bytes=sum(path.stat().st_size for path in model.pack.iterdir()),
        gguf_bytes=model.gguf.stat().st_size,
        contestants=(pairs[0][0].about, pairs[0][1].about),
    )


def alone(who: str, model: Model, weights: Path, logits: Path) -> Timed:
    """Measures in a process of its own."""
    paths = ["--weights", str(weights), "--logits", str(logits), "--passes", str(model.passes)]
    command = [sys.executable, "-m", "benchmarks.resident", "--only", who, *paths]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(model.stream), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{who} failed on {model.name}\n{done.stdout}")
    return Timed(**json.loads(done.stdout))


def agree(model: Model, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[float, float]:
    equal = float(np.mean(ours.argmax(-1) == theirs.argmax(-1)))
    correlation = float(min(np.corrcoef(mine, other)[0, 1] for mine, other in zip(ours, theirs, strict=True)))
    print(f"{model.name}: the same token is likeliest in {equal:.1%}, logits correlate by {correlation:.5f} or more")
    same = equal >= LEAST_EQUAL and correlation >= LEAST_CORRELATION
    if not (same or (model.name != "demo" and correlation >= LEAST_RANDOM_CORRELATION)):
        raise SystemExit(f"void: on {model.name} llama.cpp and ours do not compute the same")
    return round(equal, 4), round(correlation, 6)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resident", description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / ".run" / "bench", help="folder of the models made")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the large model; fewer are not recorded")
    for name in ("--only", "--weights", "--logits", "--passes"):  # of a contestant's process
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        given = Path(options.weights), json.load(sys.stdin), int(options.passes), Path(options.logits)
        timed = measure_llamacpp(*given) if options.only == "llamacpp" else asyncio.run(measure_ours(*given))
        print(json.dumps(asdict(timed)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    found = {}
    for model in (demo(options.work), shaped(options.work, options.layers)):
        found[model.name] = compare(model)
    print("tokens per second          ours  llama.cpp  times")
    for name, one in found.items():
        print(f"{name:24} {one.ours:6.2f}     {one.llamacpp:6.2f}  {one.ratio:5.2f}")
    if options.layers == LAYERS:
        record(found)


def record(found: dict[str, Compared]) -> None:
    head: dict[str, Any] = {
        "command": "python -m benchmarks.resident",
        "date": str(date.today()),
        "machine": f"{platform.machine()}, {THREADS} threads",
        "context": f"{PROMPT} to {PROMPT + TOKENS} tokens",
    }
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    known["resident_vs_llamacpp"] = min(one.ratio for one in found.values())
    known["resident"] = head | {name: asdict(one) for name, one in found.items()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    main()
