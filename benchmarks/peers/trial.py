"""Trial: one case, from a cold machine: a contestant in a control group of its own, twice, for its warm start too."""

import statistics
import sys
from pathlib import Path

from benchmarks.peers.ablation import OURS, STEPS
from benchmarks.peers.alone import Heard, alone, cold
from benchmarks.peers.case import LLAMACPP, Case
from benchmarks.peers.contest import phases
from benchmarks.peers.model import Model
from benchmarks.peers.result import Result
from benchmarks.peers.served import NotReady, Served, served
from benchmarks.peers.sizes import sizes
from benchmarks.rates import disk_rate, memory_rate
from zipmoe.errors import ZipMoEError
from zipmoe.profile.kept import cache_folder
from zipmoe.profile.profile import profile

# Of a contestant that does all, of one that only decodes, and of a start; whoever takes longer is stopped and reported
# so, with what was found until then.
SECONDS = {"olmoe-1b-7b": 300.0, "qwen1.5-moe": 150.0}
FEWER_SECONDS, START_SECONDS = 120.0, 120.0


def trial(case: Case, model: Model) -> Result:
    limit = case.bytes(model.size)
    weights, everything = model.weights(case.contestant), case.contestant not in STEPS or case.contestant == OURS
    log = model.work / "peers" / f"{case.name}.log"
    disk, memory = list[float](), list[float]()

    def measure() -> None:
        """A virtual machine's share of its host wanders by the minute: its rates are taken beside what they explain."""
        disk.append(disk_rate(weights))
        memory.append(memory_rate())

    if case.contestant in STEPS:
        profile(weights)
    up, failure = _served(weights, limit, model) if case.contestant == OURS else (None, "")
    seconds = SECONDS[model.like] if everything else FEWER_SECONDS
    with cold("peers", limit) as (group, run):
        command = _command(case, weights, limit, run, model.vocabulary)
        heard = alone([*command, *phases(everything)], group, seconds, log, measure)
        once_more = everything and up is None and "start" in heard.phases
        again = alone(command, group, START_SECONDS, log) if once_more else None
        peak, met = group.peak(), group.met()
    if not memory:
        measure()
    firsts = [_first(heard), _first(again)] if up is None else [*(each.first for each in up), None, None][:2]
    return Result(
        case=case.name,
        contestant=case.contestant,
        limit=case.limit,
        limit_bytes=limit,
        about=heard.phases.get("start", {}).get("about", ""),
        phases=heard.phases,
        failure="; ".join(filter(None, (failure, heard.failure))),
        first_cold=firsts[0],
        first_warm=firsts[1],
        peak=max([peak, *(each.peak for each in up or ())]),
        met=met + sum(each.met for each in up or ()),
        disk_rate=statistics.fmean(disk),
        memory_rate=statistics.fmean(memory),
        uses=int(model.preset.config["num_hidden_layers"]) * int(model.preset.config["num_experts_per_tok"]),
        sizes=sizes(model, case.contestant),
    )


def _served(packed: Path, limit: int | None, model: Model) -> tuple[list[Served], str]:
    """Cold and then warm, or nothing and why. What it writes down of its routing goes: all plan with the same."""
    try:
        with cold("peers-up", limit) as (group, run):
            return [served(packed, limit, group, run, model.vocabulary, busy) for busy in (True, False)], ""
    except (NotReady, TimeoutError, ZipMoEError) as error:
        return [], str(error) or "zipmoe up did not answer in time"
    finally:
        for record in cache_folder().glob("*.routing"):
            record.unlink()


def _command(case: Case, weights: Path, limit: int | None, run: Path, vocabulary: int) -> list[str]:
    python = [sys.executable, "-m"]
    if case.contestant in STEPS:
        about = [str(weights), case.contestant, str(limit or 0), str(run), str(vocabulary)]
        return [*python, "benchmarks.peers.ours", *about]
    module = "mapped" if case.contestant == LLAMACPP else "offloaded"
    return [*python, f"benchmarks.peers.{module}", str(weights), str(vocabulary)]


def _first(heard: Heard | None) -> float | None:
    if heard is None or "start" not in heard.phases:
        return None
    return float(heard.phases["start"]["at"]) - heard.started
