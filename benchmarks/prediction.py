"""How well the planner predicts: a layer's time and the best split of the memory, against measurements.

    python -m benchmarks.prediction           (make bench; 7 GB of disk, 10 GiB of memory, some twenty minutes)

A few layers in the shape of OLMoE-1B-7B, random weights, routing with the published statistics. The experts of layer
after layer are decoded by the real services, at budgets from 25 to 90 % of the experts in BF16 and 1, 4 and 16
sequences at once: the mean time of a layer against the one predicted from routing and the device's profile alone. The
device is profiled anew before each row, for its disk may give half of what it gave a minute before (a shared one does);
the mean of the profiles before and after is what a row is predicted from. Then, at two budgets, memory is split in
other ways than planned, in rounds, so that only times of the same minutes are compared. Prints tables and merges
`prediction_error` (the median, relative) and `split_gap` (the planned split's time over the best one's, less 1; the
worse of the budgets) into results/scheduler.json, each when it is known. Run it with nothing else on the machine.
"""

import argparse
import json
import os
import shutil
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.layers import measure
from zipmoe.expert_store.size import arena_header
from zipmoe.pack.reader import Pack
from zipmoe.pack.writer import pack as write_pack
from zipmoe.plan.cost import Device
from zipmoe.plan.model import Model
from zipmoe.plan.planner import candidates, plan
from zipmoe.plan.popularity import popularity
from zipmoe.plan.prediction import Pools, Predictor
from zipmoe.plan.rates import Rates
from zipmoe.profile.profile import profile
from zipmoe.routing.routing import Routing
from zipmoe.simulate.shape import shape
from zipmoe.simulate.synthetic import synthetic
from zipmoe.synth.preset import preset
from zipmoe.synth.writer import write

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "scheduler.json"
LIKE, LAYERS = "olmoe-1b-7b", 4
BUDGETS = (25, 40, 60, 75, 90)
# Sequences at once, and steps of each.
BATCHES = {1: 240, 4: 120, 16: 60}
SPLIT_BUDGETS, SPLITS, SPLIT_STEPS, ROUNDS = (30, 50), 5, 160, 3


@dataclass(frozen=True, slots=True)
class Row:
    budget: int
    batch: int
    predicted: float
    measured: float
    hits: tuple[float, float]

    @property
    def error(self) -> float:
        return abs(self.predicted / self.measured - 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction", description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=ROOT / ".run" / "bench", help="folder of the model made")
    parser.add_argument("--part", choices=("times", "splits"), help="only one of the two [both]")
    parser.add_argument("--codec", default="pack3", help="that it is stored in; others are not recorded")
    options = parser.parse_args()
    packed = made(options.work, options.codec)
    with Pack.open(packed) as pack:
        header = arena_header(pack, "100%", "pack3")
        model = Model.of(pack, header)
    found = {}
    if options.part != "splits":
        found["prediction_error"] = statistics.median(row.error for row in compare(packed, model))
        print(f"median error {found['prediction_error']:.1%}", flush=True)
        record(found, options.codec)
    if options.part != "times":
        device = profiled(packed)
        found["split_gap"] = max(split(packed, model, device, budget) for budget in SPLIT_BUDGETS)
        print(f"the planned split's time over the best one's, less 1: {found['split_gap']:.1%}")
        record(found, options.codec)


def record(found: Mapping[str, float], codec: str) -> None:
    if codec == "pack3":
        known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        figures = {name: round(figure, 3) for name, figure in found.items()}
        RESULT.write_text(json.dumps(known | figures, indent=2) + "\n")


def made(work: Path, codec: str, layers: int = LAYERS) -> Path:
    name = f"{LIKE}-{layers}-layers"
    packed, checkpoint = work / f"{name}-{codec}.zipmoe", work / name
    if not (packed / "manifest").exists():
        if not checkpoint.exists():
            write(preset(LIKE).with_layers(layers), 0, checkpoint, lambda *_: None)
        write_pack(checkpoint, packed, codec)
        shutil.rmtree(checkpoint)
    return packed


def slots_bytes(packed: Path, budget: int) -> int:
    """What the slots of an arena of so many percent of the experts have: whole slots."""
    with Pack.open(packed) as pack:
        header = arena_header(pack, f"{budget}%", "pack3")
    return header.size - header.slots_offset


def routed(batch: int, steps: int) -> Routing:
    return synthetic(shape(LIKE), LAYERS, batch, steps, seed=1)


def profiled(packed: Path) -> Device:
    return Device(profile(packed, again=True).rates, os.cpu_count() or 1, os.cpu_count() or 1)


def between(before: Device, after: Device) -> Device:
    """What the device did on average."""

    def mean(one: Any, other: Any) -> Any:
        if isinstance(one, Mapping):
            return {key: mean(value, other[key]) for key, value in one.items()}
        return (one + other) / 2

    rates = Rates.from_json(mean(before.rates.to_json(), after.rates.to_json()))
    return Device(rates, before.workers, before.cores)


def compare(packed: Path, model: Model) -> Iterator[Row]:
    before = profiled(packed)
    print("memory  batch  predicted ms  measured ms  error    hits predicted, found")
    for batch, steps in BATCHES.items():
        routing = routed(batch, steps)
        popular = popularity(routing, batch)
        for budget in BUDGETS:
            pools = next(iter(candidates(model, slots_bytes(packed, budget))))
            found = measure(packed, f"{budget}%", pools, routing, batch)
            after = profiled(packed)
            predictor = Predictor(model, between(before, after), popular)
            predicted, before = predictor.predict(pools), after
            wanted = predictor.wanted
            row = Row(
                budget,
                batch,
                predicted.seconds / LAYERS,
                float(found.seconds.mean()),
                (predicted.hit_rate, 1 - found.misses / wanted),
            )
            yield row
            print(
                f"{budget:5}%  {batch:5}  {row.predicted * 1e3:12.2f}  {row.measured * 1e3:11.2f}  {row.error:5.1%}"
                f"    {row.hits[0]:.1%}, {row.hits[1]:.1%}",
                flush=True,
            )


def split(packed: Path, model: Model, device: Device, budget: int) -> float:
    """The planned split's time over the best one's, less 1."""
    routing = routed(1, SPLIT_STEPS)
    predictor = Predictor(model, device, popularity(routing))
    memory = slots_bytes(packed, budget)
    planned = plan(predictor, memory).pools
    tried = some(planned, list(candidates(model, memory)))
    times: dict[Pools, list[float]] = {pools: [] for pools in tried}
    for _ in range(ROUNDS):
        for pools in tried:
            times[pools].append(float(measure(packed, f"{budget}%", pools, routing, 1).seconds.mean()))
    found = {pools: statistics.median(seconds) for pools, seconds in times.items()}
    print(f"memory {budget}%: words, sign-mantissas, exponents  predicted ms  measured ms")
    for pools in tried:
        told = predictor.predict(pools).seconds / LAYERS
        mark = "  planned" if pools == planned else ""
        slots = " ".join(f"{count:6}" for count in pools.slots)
        print(f"{slots}  {told * 1e3:8.2f}  {found[pools] * 1e3:8.2f}{mark}", flush=True)
    return found[planned] / min(found.values()) - 1


def some(planned: Pools, all_: list[Pools]) -> list[Pools]:
    """The planned one, and some from all over the others."""
    step = max(1, len(all_) // SPLITS)
    return list(dict.fromkeys([planned, *all_[::step]]))


if __name__ == "__main__":
    main()
