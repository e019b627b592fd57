"""Record: the files of a run, with the machine and the versions that it was made with."""

import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

from benchmarks.peers import plot
from benchmarks.peers.ablation import STEPS
from benchmarks.peers.report import by_place, figures, ratios
from benchmarks.peers.result import Result

FOLDER: Final = Path(__file__).parent.parent / "results"
PACKAGES: Final = ("llama-cpp-python", "transformers", "accelerate", "torch", "safetensors", "zipmoe")


def record(found: Mapping[str, Sequence[Result]], folder: Path, options: Sequence[str]) -> None:
    """Figures of the first model are the headline; of each model, its own. `options` are those of the command."""
    models = {
        name: {**ratios(by_place(results)), "cases": {f"{one.contestant} {one.limit}": figures(one) for one in results}}
        for name, results in found.items()
    }
    first = next(iter(found.values()))
    head = {
        "command": "make bench-peers" + (f" PEERS={shlex.quote(shlex.join(options))}" if options else ""),
        "date": str(date.today()),
        "machine": machine(),
        "versions": {name: version(name) for name in PACKAGES},
    }
    report = head | ratios(by_place(first)) | {"models": models}
    (folder / "peers.json").write_text(json.dumps(report, indent=2) + "\n")
    for name, results in found.items():
        like = name.rsplit("-", 2)[0]
        plot.tpot(results, name, folder / f"peers-{like}")
        if {result.contestant for result in results} >= STEPS.keys():
            plot.ladder(results, name, folder / f"peers-{like}-ladder")
    print(f"written: {folder / 'peers.json'}, and pictures beside it")


def machine() -> str:
    names = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    memory = psutil.virtual_memory().total / 2**30
    return f"{names[0] if names else platform.machine()}, {psutil.cpu_count()} processors, {memory:.0f} GiB of memory"
