"""Engine: runs sequences, one after the other in the order of their arrival, a step at a time.

A step (a chunk of a prompt, or one token) runs on the compute thread while the event loop stays free; a request that
is cancelled ends before the next expert. It knows tokens and text; the doors know messages.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Final, ParamSpec

import torch
from tokenizers import Tokenizer
from torch import Tensor

from zipmoe.errors import CacheExhausted, InvalidRequest, ServiceRestarting, StaleEpoch
from zipmoe.inference.experts import Experts
from zipmoe.inference.mixture import WalkedMixture
from zipmoe.inference.model.decoder import Decoder
from zipmoe.inference.sampling import Sampling, sample
from zipmoe.inference.sequence import Delta, Sequence
from zipmoe.inference.text import TextStream
from zipmoe.routing.record import Record

MOST_WAITING: Final = 64

P = ParamSpec("P")


class Engine:
    def __init__(
        self,
        model: Decoder,
        experts: Experts,
        tokenizer: Tokenizer,
        end_tokens: frozenset[int],
        record: Record | None = None,
    ) -> None:
        """With a `record`, the routing of every token that is decoded is written down."""
        self.model = model
        self.tokenizer = tokenizer
        # Settled when the arena was made anew: this process cannot go on.
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._experts = experts
        self._end_tokens = end_tokens
        self._record = record
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._compute = ThreadPoolExecutor(1, "compute")

    async def generate(self, prompt: list[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Continues a prompt. Closing it ends the work before the next expert.

        Raises InvalidRequest for a prompt that is empty, too long or has foreign tokens, CacheExhausted if too many
        wait, and what a walk over the experts raises.
        """
        sequence = self._admit(prompt, sampling)
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            sequence.started, before = monotonic(), self._experts.counters
            token = await self._on_compute_thread(self._prefill, sequence)
            while (delta := sequence.append(token)).finish is None:
                yield delta
                token = await self._on_compute_thread(self._decode, sequence, token)
            yield replace(delta, usage=sequence.usage(self._experts.counters - before))
        finally:
            self._turn.release()

    def _admit(self, prompt: list[int], sampling: Sampling) -> Sequence:
        config = self.model.config
        if not prompt:
            raise InvalidRequest("the prompt is empty: give at least one token")
        if max(prompt) >= config.vocabulary:
            raise InvalidRequest(f"token {max(prompt)} is not in the vocabulary of {config.vocabulary}")
        room = config.context - len(prompt)
        if room < 1:
            raise InvalidRequest(
                f"the prompt has {len(prompt)} tokens, the context {config.context}, one is to be written: shorten it"
            )
        if self._waiting >= MOST_WAITING:
            raise CacheExhausted(f"{self._waiting} requests wait already: try later")
        room = min(room, sampling.max_tokens or room)
        text = TextStream(self.tokenizer, sampling.stop)
        return Sequence(prompt, sampling, room, self._end_tokens, text, sampling.generator())

    # -- on the compute thread

    def _prefill(self, sequence: Sequence) -> int:
        sequence.cache = self.model.cache(len(sequence.prompt) + sequence.room)
        mixture = WalkedMixture(self._experts, self.model.arithmetic, decoding=False)
        prompt, chunk = torch.tensor(sequence.prompt), self.model.arithmetic.chunk or len(sequence.prompt)
        for start in range(0, len(prompt), chunk):
            logits = self.model.forward(prompt[start : start + chunk], sequence.cache, mixture)
        return self._sample(logits, sequence)

    def _decode(self, sequence: Sequence, token: int) -> int:
        assert sequence.cache is not None
        self._experts.use.advance()
        mixture = WalkedMixture(self._experts, self.model.arithmetic, decoding=True, record=self._record)
        logits = self.model.forward(torch.tensor([token]), sequence.cache, mixture)
        if self._record is not None:
            self._record.advance()
        return self._sample(logits, sequence)

    def _sample(self, logits: Tensor, sequence: Sequence) -> int:
        return sample(logits[-1], sequence.sampling, sequence.generator)

    async def _on_compute_thread(self, step: Callable[P, int], *arguments: P.args, **named: P.kwargs) -> int:
        self._experts.resume()
        future = asyncio.get_running_loop().run_in_executor(self._compute, partial(step, *arguments, **named))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # The thread must be free before the next sequence has its turn; it ends before its next expert.
            self._experts.interrupt()
            with contextlib.suppress(Exception):
                await future
            raise
        except StaleEpoch as error:
            if not self.fatal.done():
                self.fatal.set_exception(error)
            raise ServiceRestarting(f"inference attaches anew: {error}") from error
