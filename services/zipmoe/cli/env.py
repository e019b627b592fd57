"""zipmoe env: what the services are to be started with, as lines NAME=VALUE that compose and systemd read."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console

from zipmoe.cli.containers import Limits, bare
from zipmoe.cli.memory import available
from zipmoe.cli.overhead import measured, started
from zipmoe.cli.start import Start, Wish, start
from zipmoe.errors import InvalidRequest
from zipmoe.expert_store.size import arena_header, plain_bytes
from zipmoe.pack.reader import Pack


def env(wish: Wish, mode: str, batch: int) -> None:
    """Lines go to standard output, the table to standard error. Raises what is wrong with the pack or the memory."""
    memory = plain_bytes(wish.memory) if wish.memory else available()
    wish = replace(wish, packed=wish.packed.resolve(), memory=str(memory))
    if not str(wish.packed).isprintable() or any(letter in "\"'$#\\ " for letter in str(wish.packed)):
        raise InvalidRequest(
            f"{str(wish.packed)!r} cannot be written so that compose and systemd both read it: move it"
        )
    with Pack.open(wish.packed) as pack:
        most = min(memory, arena_header(pack, "100%", wish.resident).size)
    containers = bare(measured(), started("zipmoe.wire.health"), wish.workers or os.cpu_count() or 1, most)
    planned = start(wish, Console(stderr=True), containers.total)
    assert planned.allotment is not None
    budget = planned.allotment.budget
    limits = containers.plus(planned.size, budget.dense + budget.sequences)
    Console(stderr=True).print(planned.table)
    sys.stdout.writelines(f"{line}\n" for line in lines(wish, planned, limits, mode, batch))


def lines(wish: Wish, planned: Start, limits: Limits, mode: str, batch: int) -> Iterator[str]:
    yield "# Made by `zipmoe env` for this device, this model and this much memory: change one, and make it anew."
    yield "COMPOSE_PROJECT_NAME=zipmoe"
    yield f"ZIPMOE_MODEL={wish.packed}"
    yield f"ZIPMOE_FINGERPRINT={planned.fingerprint}"
    yield f"# Bytes that each may have, {limits.total / 2**20:.0f} MiB together; the arena is in the expert store's."
    yield f"ZIPMOE_EXPERT_STORE_MEMORY={limits.expert_store}"
    yield f"ZIPMOE_SCHEDULER_MEMORY={limits.scheduler}"
    yield f"ZIPMOE_INFERENCE_MEMORY={limits.inference}"
    yield "# How it is divided; see the services' --help."
    yield f"ZIPMOE_ARENA_SIZE={planned.size}"
    yield f"ZIPMOE_RESIDENT={planned.form}"
    yield f"ZIPMOE_POOLS={','.join(map(str, planned.pools))}"
    yield f"ZIPMOE_KV_TOKENS={planned.kv_tokens}"
    yield "# What it does."
    yield f"ZIPMOE_MODE={mode}"
    yield f"ZIPMOE_BATCH={batch}"
    yield f"ZIPMOE_FORECAST={planned.forecast}"
    yield f"ZIPMOE_WORKERS={planned.workers}"
    yield f"ZIPMOE_THREADS={planned.threads}"
