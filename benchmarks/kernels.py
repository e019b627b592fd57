"""How fast weights are multiplied while compressed: packed experts against torch on uncompressed ones.

    python -m benchmarks.kernels            (make bench)

Prints a table and writes benchmarks/results/kernels.json: medians of ratios over rounds that alternate between the two,
our speed over the other's, the worse of the shapes, for pack3, and apart for pack4. Experts rotate, so that every
weight comes from memory. Run it with nothing else on the machine.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from zipmoe.arena import huge_pages
from zipmoe.kernels import Packed, expert, pack, split, unpack
from zipmoe.pack.blob import CODE_BITS, padded

RESULT = Path(__file__).parent / "results" / "kernels.json"
SHAPES = ((2048, 1024), (2048, 1408))  # hidden, inner: of OLMoE; of DeepSeek-V2-Lite and Qwen1.5-MoE
BYTES = 1 << 30  # of packed experts
ROUNDS, CHUNK = 25, 1 << 20
REST_SECONDS = 0.005  # torch's idle threads spin for about a millisecond, ours for some microseconds
BATCH = 16  # experts a round: short, so that both see the same machine
TILE = 256  # rows that are unpacked at once for many tokens


@dataclass(frozen=True, slots=True)
class Expert:
    gate_up: Tensor
    down: Tensor
    packed_gate_up: Packed
    packed_down: Packed


def octets(words: Tensor) -> memoryview:
    return words.view(-1).view(torch.uint8).numpy().data


def encode(words: Tensor, bits: int) -> tuple[bytearray, memoryview]:
    """(sign-mantissas, exponents) of a run, packed."""
    run, n = octets(words), words.numel()
    exponents, sign_mantissa = memoryview(bytearray(CHUNK)), bytearray(n)
    parts, used = memoryview(bytearray(n)), 0
    for first in range(0, n, CHUNK):
        last = min(n, first + CHUNK)
        plane = exponents[: last - first]
        split(run[2 * first : 2 * last], plane, memoryview(sign_mantissa)[first:last])
        size = pack(bits, plane, parts[used:])
        if size is None:
            raise RuntimeError("Gaussian weights have no such escapes")
        used += padded(size)
    return sign_mantissa, parts[:used]


def in_huge_pages(plane: bytearray | memoryview) -> memoryview:
    memory = huge_pages.anonymous(len(plane))
    memory[:] = plane
    return memory


def experts(
    hidden: int, inner: int, bits: int, held: Callable[[bytearray | memoryview], bytearray | memoryview] = bytearray
) -> list[Expert]:
    run = (torch.randn(3 * inner * hidden, generator=torch.Generator().manual_seed(inner)) * 0.02).bfloat16()
    sign_mantissa, part = encode(run, bits)
    made = []
    for _ in range(-(-BYTES // (len(sign_mantissa) + len(part)))):
        words, planes = run.clone(), (held(sign_mantissa), held(part))
        made.append(
            Expert(
                words[: 2 * inner * hidden].view(-1, hidden),
                words[2 * inner * hidden :].view(hidden, inner),
                Packed(*planes, 0, 2 * inner, hidden),
                Packed(*planes, 2 * inner * hidden, hidden, inner),
            )
        )
    return made


def by_torch(x: Tensor, one: Expert, _: int) -> Tensor:
    gate, up = linear(x, one.gate_up).chunk(2, dim=-1)
    return linear(silu(gate) * up, one.down)


def by_words(x: Tensor, one: Expert, threads: int) -> Tensor:
    out = torch.empty_like(x)
    expert(x, one.gate_up, one.down, out, threads)
    return out


def by_packed(x: Tensor, one: Expert, threads: int) -> Tensor:
    out = torch.empty_like(x)
    expert(x, one.packed_gate_up, one.packed_down, out, threads)
    return out


def by_tiles(x: Tensor, one: Expert, threads: int) -> Tensor:
    """For many tokens: unpack some rows into memory that stays in the cache, and let torch multiply them."""
    gate, up = tiled(x, one.packed_gate_up, threads).chunk(2, dim=-1)
    return tiled(silu(gate) * up, one.packed_down, threads)


def tiled(x: Tensor, weight: Packed, threads: int) -> Tensor:
    tile = torch.empty(TILE, weight.columns, dtype=x.dtype)
    parts = []
    for row in range(0, weight.rows, TILE):
        rows = tile[: weight.rows - row]
        unpack(weight, rows, threads, row)
        parts.append(linear(x, rows))
    return torch.cat(parts, dim=-1)


def seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Compared:
    ratio: float  # the median of their seconds over ours
    quiet: float  # their best seconds over our best: what the ratio is while nothing else runs
    ours: float  # our best seconds


def alone(act: Callable[[int], object], number: int) -> float:
    """Seconds of a round with the threads of whoever was there before asleep, and its own awake."""
    time.sleep(REST_SECONDS)
    act(number - 1)
    return seconds(lambda: act(number))


def alternate(ours: Callable[[int], object], theirs: Callable[[int], object]) -> Compared:
    """Call both with the number of the round, in turns. The first round warms up."""
    rounds = [(alone(ours, i), alone(theirs, i)) for i in range(ROUNDS + 1)][1:]
    best, other = (min(times) for times in zip(*rounds, strict=True))
    return Compared(statistics.median(b / a for a, b in rounds), other / best, best)


def batch(made: list[Expert], number: int) -> list[Expert]:
    """Other experts each round, so that none is in a cache."""
    return [made[(number * BATCH + i) % len(made)] for i in range(BATCH)]


def feed_forward(made: list[Expert], tokens: int, threads: int) -> Iterator[tuple[str, Compared]]:
    """Contenders that make sense for so many tokens, each against torch."""
    torch.set_num_threads(threads)
    x = torch.randn(tokens, made[0].packed_down.rows).bfloat16()

    def run(by: Callable[[Tensor, Expert, int], Tensor]) -> Callable[[int], object]:
        return lambda number: [by(x, one, threads) for one in batch(made, number)]

    for name, by in (("packed", by_packed), ("tiles", by_tiles), ("words", by_words)):
        if name != "tiles" or tokens >= 16:
            yield name, alternate(run(by), run(by_torch))


def unpacking(made: list[Expert]) -> float:
    slots = [torch.empty_like(made[0].gate_up) for _ in range(BATCH * 4)]

    def turn(number: int) -> Iterator[tuple[Tensor, Expert]]:
        return zip(slots[number % 4 * BATCH :], batch(made, number), strict=False)

    def expand(number: int) -> None:
        for slot, one in turn(number):
            unpack(one.packed_gate_up, slot, 1)

    def copy(number: int) -> None:
        for slot, one in turn(number):
            octets(slot)[:] = octets(one.gate_up)

    return alternate(expand, copy).ratio


def encoding(one: Expert, bits: int) -> float:
    words = one.gate_up.view(-1)
    return 2 * words.numel() / statistics.median(seconds(lambda: encode(words, bits)) for _ in range(9)) / 1e9


def pages(huge: list[Expert], small: list[Expert], threads: int) -> float:
    """One token with experts that lie in huge pages, against the same in small ones."""
    x = torch.randn(1, small[0].packed_down.rows).bfloat16()

    def run(made: list[Expert]) -> Callable[[int], object]:
        return lambda number: [by_packed(x, one, threads) for one in batch(made, number)]

    return alternate(run(huge), run(small)).ratio


def measured(shape: tuple[int, int], bits: int) -> dict[str, float]:
    made, huge = experts(*shape, bits), experts(*shape, bits, in_huge_pages)
    figures = {
        "unpack_vs_memcpy": unpacking(made),
        "encode_gbps": encoding(made[0], bits),
        "huge_pages_1thread": pages(huge, made, 1),
        "huge_pages_2threads": pages(huge, made, 2),
    }
    about = (f"{name} {value:.2f}" for name, value in figures.items())
    print(f"{shape[0]} x {shape[1]} in pack{bits}, {len(made)} experts", *about, sep="; ")
    print("  tokens  threads  how     times torch  of the best  GB/s of BF16")
    for tokens, threads in ((1, 1), (1, 2), (2, 1), (4, 1), (4, 2), (8, 2), (16, 2)):
        best = 0.0
        for name, found in feed_forward(made, tokens, threads):
            rate = BATCH * 6 * shape[0] * shape[1] / found.ours / 1e9
            times = f"{found.ratio:11.2f}  {found.quiet:11.2f}"
            print(f"  {tokens:6}  {threads:7}  {name:6}  {times}  {rate:12.1f}", flush=True)
            best = best if name == "words" else max(best, found.ratio)
        figures[f"ffn_m{tokens}_{threads}thread{'s' * (threads > 1)}"] = best
    return figures


def main() -> None:
    load = round(os.getloadavg()[0], 2)  # well above 0: others ran, and two threads say little
    report: dict[int, dict[str, float]] = {}
    for bits in CODE_BITS:
        shapes = [measured(shape, bits) for shape in SHAPES]
        report[bits] = {key: round(min(figures[key] for figures in shapes), 3) for key in shapes[0]}
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    head = {
        "command": "python -m benchmarks.kernels",
        "date": str(date.today()),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "load_average_before": load,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(head | known | head | report[3] | {"pack4": report[4]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
