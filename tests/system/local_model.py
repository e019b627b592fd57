"""A decoder in the test's own process, over the arena of a running store and scheduler: its logits can be looked at."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from tests.system.stack import Stack
from zipmoe.arena.arena import Arena
from zipmoe.inference.experts import Experts
from zipmoe.inference.mixture import WalkedMixture
from zipmoe.inference.model.decoder import Decoder
from zipmoe.inference.model.families import decoder
from zipmoe.inference.model.modes import arithmetic
from zipmoe.inference.model.kv_cache import KVCache
from zipmoe.inference.scheduler_client import SchedulerClient
from zipmoe.inference.weights import load_dense
from zipmoe.pack.reader import Pack
from zipmoe.wire.channel import connect

THREADS = 2

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class LocalModel:
    model: Decoder
    experts: Experts

    def prefill(self, tokens: Tensor, cache: KVCache, last: int = 1) -> Tensor:
        """Compute thread: logits [last, vocabulary]."""
        return self.model.forward(tokens, cache, WalkedMixture(self.experts, self.model.arithmetic, False), last)

    def decode(self, token: int, cache: KVCache) -> Tensor:
        """Compute thread: logits [vocabulary]."""
        self.experts.use.advance()
        mixture = WalkedMixture(self.experts, self.model.arithmetic, True)
        return self.model.forward(torch.tensor([token]), cache, mixture)[0]

    def greedy(self, prompt: Tensor, count: int) -> tuple[list[int], list[Tensor]]:
        """Compute thread: `count` tokens and the logits that each was chosen from."""
        cache = self.model.cache(len(prompt) + count)
        seen = [self.prefill(prompt, cache)[-1]]
        tokens = [int(seen[-1].argmax())]
        while len(tokens) < count:
            seen.append(self.decode(tokens[-1], cache))
            tokens.append(int(seen[-1].argmax()))
        return tokens, seen


@asynccontextmanager
async def local_model(stack: Stack, mode: str, forecast: int = 0) -> AsyncIterator[LocalModel]:
    torch.set_num_threads(THREADS)
    with Pack.open(stack.pack) as pack:
        model = decoder(pack.config, load_dense(pack), arithmetic(mode, THREADS), forecast)
        async with connect(stack.places.scheduler) as channel:
            client = SchedulerClient(channel)
            yield LocalModel(model, Experts(Arena.open(await client.arena()), pack.geometry.hidden, client))


async def on_thread(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """The event loop must stay free while the compute thread waits for experts."""
    return await asyncio.to_thread(work, *arguments, **named)
