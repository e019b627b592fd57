"""zipmoe simulate: policies on routing, in seconds."""

from rich.console import Console
from rich.progress import track
from rich.table import Table

from zipmoe.simulate.contest import RAW, contest
from zipmoe.simulate.shape import shape
from zipmoe.simulate.synthetic import synthetic

REQUEST = 100  # tokens


def simulate(like: str, budgets: list[float], layers: int, tokens: int, bits: float, disk: float, seed: int) -> None:
    of = shape(like)
    routing = synthetic(of, layers, -(-tokens // REQUEST), REQUEST, seed)
    table = Table("memory", "policy", "bits", "resident", "hits", "MiB a token", "ms of disk", "of raw lru")
    for budget in track(budgets, "replaying", transient=True):
        for result in contest(routing, of.weights, budget, bits):
            table.add_row(
                f"{budget:.0%}" if result.policy == RAW else "",
                result.policy,
                f"{result.bits:g}",
                f"{result.resident:.0%}",
                f"{result.hit_rate:.1%}",
                f"{result.bytes / 2**20:.1f}",
                f"{result.bytes / disk / 1e6:.1f}",
                f"{result.raw:.2f}",
            )
        table.add_section()
    console = Console()
    console.print(table)
    console.print(
        f"{len(routing.chosen)} tokens in {layers} layers like {like}, routed at random as {of.statistics} routes on "
        f"average (seed {seed}); memory as a share of all experts in BF16; a disk of {disk:g} GB/s. "
        "raw lru keeps and reads BF16; belady knows the future, and nothing can read less."
    )
