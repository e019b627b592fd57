"""A decoder in the test's own process, over the arena of a running store and scheduler: its logits can be looked at."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from tests.inference.texts import Lone
from tests.system.stack import Stack
from zipmoe.arena.arena import Arena
from zipmoe.inference.experts import Experts
from zipmoe.inference.mixture import WalkedMixture
from zipmoe.inference.model.decoder import Decoder
from zipmoe.inference.model.families import decoder
from zipmoe.inference.model.modes import arithmetic
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

    def text(self, capacity: int) -> Lone:
        """Room for a sequence of so many tokens."""
        return Lone(self.model, capacity)

    def mixture(self, tokens: int, decoding: bool) -> WalkedMixture:
        return WalkedMixture(self.experts, self.model.arithmetic, np.full(tokens, decoding))

    def prefill(self, tokens: Tensor, text: Lone, last: int = 1) -> Tensor:
        """Compute thread: logits [last, vocabulary]."""
        return text.forward(tokens, self.mixture(len(tokens), decoding=False), last)

    def decode(self, token: int, text: Lone) -> Tensor:
        """Compute thread: logits [vocabulary]."""
        self.experts.use.advance()
        logits = text.forward(torch.tensor([token]), self.mixture(1, decoding=True))[0]
        self.experts.count()
        return logits

    def greedy(self, prompt: Tensor, count: int) -> tuple[list[int], list[Tensor]]:
        """Compute thread: `count` tokens and the logits that each was chosen from."""
        text = self.text(len(prompt) + count)
        seen = [self.prefill(prompt, text)[-1]]
        tokens = [int(seen[-1].argmax())]
        while len(tokens) < count:
            seen.append(self.decode(tokens[-1], text))
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
