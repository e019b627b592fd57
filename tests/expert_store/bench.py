"""Bench: an arena of eight slots beside a pack, and what its checkpoint says must come into them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import torch
from safetensors.torch import load_file

from zipmoe.arena import layout
from zipmoe.arena.arena import Arena
from zipmoe.arena.layout import Part, Slot
from zipmoe.expert_store.pool import Load, Pool
from zipmoe.expert_store.size import arena_header
from zipmoe.expert_store.task import Act, Task, Urgency
from zipmoe.kernels import Packed, unpack
from zipmoe.pack.reader import Pack

LAYERS, EXPERTS, HIDDEN = 2, 4, 64


@dataclass(frozen=True, slots=True)
class Bench:
    pack: Pack
    arena: Arena
    tensors: dict[str, torch.Tensor]

    @classmethod
    @contextmanager
    def over(cls, checkpoint: Path, pack: Path, folder: Path, resident: str = "bf16") -> Iterator[Self]:
        with Pack.open(pack) as opened:
            arena = Arena.create(folder / "arena", arena_header(opened, "100%", resident))
            yield cls(opened, arena, load_file(checkpoint / "model.safetensors"))

    def original(self, number: int) -> bytes:
        """An expert as the checkpoint has it."""
        layer, expert = divmod(number, EXPERTS)
        parts = (
            self.tensors[f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj.weight"]
            for part in ("gate", "up", "down")
        )
        return b"".join(part.contiguous().view(torch.uint8).numpy().tobytes() for part in parts)

    def task(self, number: int, slot: int) -> Task:
        blob = self.pack.expert(*divmod(number, EXPERTS))
        slots = self.slots(slot)
        words, sign_mantissas, exponents = (slots[part].offset if part in slots else 0 for part in Part)
        return Task(Act.LOAD, words, sign_mantissas, exponents, self.arena.header.bits, blob.to_wire())

    def slots(self, slot: int) -> dict[Part, Slot]:
        """A slot for each part that an expert has here."""
        partition = layout.whole(self.arena.header)
        return {part: partition[part].slot(slot) for part in Part if partition[part].slots}

    def slot(self, slot: int) -> bytes:
        """The words that lie in a slot now."""
        places = self.slots(slot)
        if not self.arena.header.bits:
            return self.memory(places[Part.WORDS])[: 2 * self.arena.header.weights].tobytes()
        return self.words(places)

    def words(self, slots: dict[Part, Slot]) -> bytes:
        """Those that two planes make."""
        header = self.arena.header
        words = torch.empty(1, header.weights, dtype=torch.bfloat16)
        plane, parts = self.memory(slots[Part.SIGN_MANTISSAS])[: header.weights], self.memory(slots[Part.EXPONENTS])
        unpack(Packed(plane, parts, 0, 1, header.weights), words, 1)
        return words.view(torch.uint8).numpy().tobytes()

    def memory(self, slot: Slot) -> memoryview:
        return self.arena.memory[slot.offset : slot.offset + slot.length]

    @asynccontextmanager
    async def pool(self, workers: int = 1, experts_file: Path | None = None) -> AsyncIterator[Pool]:
        pool = Pool(experts_file or self.pack.experts_path, self.pack.codec, self.arena.path, workers)
        async with pool.running():
            yield pool

    async def submit(self, pool: Pool, number: int, slot: int, urgency: Urgency = Urgency.DEMAND) -> Load:
        return await pool.submit(self.task(number, slot), urgency)

    def workers(self) -> list[psutil.Process]:
        """The worker processes over this arena."""
        return [child for child in psutil.Process().children() if str(self.arena.path) in child.cmdline()]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Workers stand still and go on afterwards, if they live."""
        stopped = self.workers()
        for worker in stopped:
            os.kill(worker.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for worker in stopped:
                worker.resume()

    async def started(self, load: Load) -> None:
        """Returns when a worker has been given the load."""
        while not load.started:
            await asyncio.sleep(0)
