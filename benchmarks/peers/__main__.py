"""ZipMoE beside llama.cpp, transformers with accelerate, and itself with its mechanisms taken away.

    make bench-peers        (python -m benchmarks.peers; as root, 45 GB of disk, 24 GiB of memory, some 110 minutes)

Two synthetic checkpoints, in the shape of OLMoE-1B-7B and, with as many layers as the disk has room for, of
Qwen1.5-MoE. Every contestant has processes of its own in a control group with 40, 60 or 80 % of the checkpoint's bytes
as its memory, page cache included, or without a limit, and starts on a machine without page cache. All take in the same
tokens, whatever they would write. Who cannot run a case is reported with the reason.

Prints a table, and writes results/peers.json and pictures if nothing was left out. Interrupted, the same command goes
on where it was. Run it with nothing else on the machine.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.peers import making, record, table
from benchmarks.peers.ablation import STEPS
from benchmarks.peers.case import LIMITS, Case, cases
from benchmarks.peers.model import Model, most_layers
from benchmarks.peers.result import Result
from benchmarks.peers.trial import trial

ROOT = Path(__file__).parent.parent.parent
# What the disk keeps free, for all else.
SPARE = 4 << 30
MODELS = ("olmoe-1b-7b", "qwen1.5-moe")


def main() -> None:
    options = arguments()
    if os.geteuid():
        raise SystemExit("control groups and an empty page cache need root")
    kept = options.work / "peers"
    kept.mkdir(parents=True, exist_ok=True)
    # What the planner knows of the device is measured anew for each run.
    os.environ["ZIPMOE_CACHE"] = str(options.work / "cache")
    if options.again:
        for file in (*kept.glob("*.json"), *kept.glob("*.layers")):
            file.unlink()
    if not any(kept.glob("*.json")):
        shutil.rmtree(options.work / "cache", ignore_errors=True)
    found = {}
    for like in options.model or MODELS:
        check = [sys.executable, "-m", "benchmarks.peers.agreement", like]
        subprocess.run(check, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        model = chosen(like, options.layers, options.work, kept)
        found[model] = run(model, options, kept)
        steps = table.ladder(found[model]) if STEPS.keys() <= {one.contestant for one in found[model]} else ()
        for line in (*table.lines(found[model]), "", *steps):
            print(line)
    whole = not (options.layers or options.only or options.limit or options.model)
    where = record.FOLDER if whole else kept
    record.record({model.name: results for model, results in found.items()}, where, sys.argv[1:])
    if whole:
        kept.rename(kept.with_name(f"peers-{time.strftime('%Y%m%d-%H%M')}"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / ".run" / "bench", help="folder of models and results")
    parser.add_argument("--model", action="append", choices=MODELS, help="only this one")
    parser.add_argument("--layers", type=int, help="of the model; fewer are not recorded")
    parser.add_argument("--only", action="append", metavar="CONTESTANT", help="only this one")
    parser.add_argument("--limit", action="append", choices=LIMITS, help="only under this one")
    parser.add_argument("--again", action="store_true", help="forget what an interrupted run has found")
    parser.add_argument("--keep", action="store_true", help="leave the models where they are")
    return parser.parse_args()


def chosen(like: str, layers: int | None, work: Path, kept: Path) -> Model:
    """With the layers that an interrupted run has begun with, else as many as there is room for."""
    note = kept / f"{like}.layers"
    if layers is None and note.exists():
        layers = int(note.read_text())
    if layers is None:
        free = shutil.disk_usage(work).free + sum(
            path.stat().st_size for path in work.rglob(f"{like}-*-layers*") if path.is_file()
        )
        layers = most_layers(like, free, SPARE)
        if not layers:
            raise SystemExit(f"{work} has {free / 1e9:.0f} GB free: not enough for three copies of a layer of {like}")
        note.write_text(str(layers))
    return Model(like, layers, work)


def run(model: Model, options: argparse.Namespace, kept: Path) -> list[Result]:
    """Every case that has no result yet. What no case needs any more goes."""
    everything = cases(model.name, ladder=model.like != "qwen1.5-moe")
    asked = [
        case
        for case in everything
        if (not options.only or case.contestant in options.only) and (not options.limit or case.limit in options.limit)
    ]

    def file(case: Case) -> Path:
        return kept / f"{case.name}.json"

    for number, case in enumerate(asked, 1):
        if not file(case).exists():
            making.ensure(model, model.weights(case.contestant))
            started = time.monotonic()
            done = trial(case, model)
            done.keep(file(case))
            print(f"{number:3}/{len(asked)} {time.monotonic() - started:5.0f} s  {table.line(done)}", flush=True)
        left = {model.weights(each.contestant) for each in everything if not file(each).exists()}
        if not options.keep and model.weights(case.contestant) not in left:
            making.remove(model.weights(case.contestant))
            if not left:
                making.remove(model.checkpoint)
    return [result for case in asked if (result := Result.load(file(case)))]


if __name__ == "__main__":
    main()
