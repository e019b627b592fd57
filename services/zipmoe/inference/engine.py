"""Engine: runs sequences together, a step after the other, for as long as somebody waits for one.

    generate() ─▶ batch.add ─▶ batch.step ─▶ _compute, on the compute thread ─▶ sequence.tell ─▶ generate()
                                  ▲                                                    │
                                  └────────────────────────────────────────────────────┘

A step runs on the compute thread while the event loop stays free. Between two, requests join and leave; if nobody in a
step is waited for any more, it ends before its next expert. It knows tokens and text; the doors know messages.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
from tokenizers import Tokenizer

from zipmoe.errors import InvalidRequest, ServiceRestarting, StaleEpoch, ZipMoEError
from zipmoe.inference.batch import Batch, Part
from zipmoe.inference.experts import Experts, Interrupted
from zipmoe.inference.mixture import WalkedMixture
from zipmoe.inference.model.decoder import Decoder
from zipmoe.inference.model.kv_cache import PAGE
from zipmoe.inference.pages import Pages
from zipmoe.inference.sampling import Sampled, Sampling, sample
from zipmoe.inference.sequence import Delta, Sequence
from zipmoe.inference.tally import Counters, Tally
from zipmoe.inference.text import TextStream
from zipmoe.routing.record import Record

log = logging.getLogger(__name__)


class Engine:
    def __init__(
        self,
        model: Decoder,
        experts: Experts,
        tokenizer: Tokenizer,
        end_tokens: frozenset[int],
        pages: int,
        most_running: int,
        record: Record | None = None,
    ) -> None:
        """At most `most_running` sequences at once, whose keys and values have so many `pages`. With a `record`, the
        routing of what is decoded is written down."""
        self.model = model
        self.tokenizer = tokenizer
        self.batch = Batch(Pages(pages), most_running, model.arithmetic.divides, model.border)
        # That went through the model.
        self.steps = self.tokens = 0
        self._experts = experts
        self._end_tokens = end_tokens
        self._record = record
        self._cache = model.cache(pages)
        self._wanted = asyncio.Event()
        # Those in the step that is being computed.
        self._present = list[Part]()
        self._compute_thread = ThreadPoolExecutor(1, "compute")

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Takes steps until the body ends. The task ends only with what makes it senseless to go on."""
        task = asyncio.get_running_loop().create_task(self._run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def generate(self, prompt: list[int], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Continues a prompt. Closing it ends the work within a step.

        Raises InvalidRequest for a prompt that is empty, too long or has foreign tokens, CacheExhausted if too many
        wait, and what a walk over the experts raises.
        """
        sequence = self._admitted(prompt, sampling)
        self.batch.add(sequence)
        self._wanted.set()
        try:
            while True:
                told = await sequence.told.get()
                if isinstance(told, ZipMoEError):
                    raise told
                yield told
                if told.finish is not None:
                    return
        finally:
            sequence.over = True
            self._wanted.set()
            if self._present and all(part.sequence.over for part in self._present):
                self._experts.interrupt()

    def _admitted(self, prompt: list[int], sampling: Sampling) -> Sequence:
        config, pages = self.model.config, self.batch.pages.count
        if not prompt:
            raise InvalidRequest("the prompt is empty: give at least one token")
        if max(prompt) >= config.vocabulary:
            raise InvalidRequest(f"token {max(prompt)} is not in the vocabulary of {config.vocabulary}")
        room = config.context - len(prompt)
        if room < 1:
            raise InvalidRequest(
                f"the prompt has {len(prompt)} tokens, the context {config.context}, one is to be written: shorten it"
            )
        # The last token written is never computed with.
        fitting = pages * PAGE - len(prompt) + 1
        if fitting < 1:
            raise InvalidRequest(
                f"the prompt has {len(prompt)} tokens, and there is memory for keys and values of {pages * PAGE}: "
                "shorten it, or start with more (--kv-tokens)"
            )
        room = min(room, fitting, sampling.max_tokens or room)
        text = TextStream(self.tokenizer, sampling.stop)
        return Sequence(list(prompt), sampling, room, self._end_tokens, text, sampling.generator())

    # -- steps

    async def _run(self) -> None:
        try:
            while True:
                self._wanted.clear()
                parts = self.batch.step()
                if parts:
                    await self._step(parts)
                else:
                    await self._wanted.wait()
        finally:
            for sequence in (*self.batch.running, *self.batch.waiting):
                if not sequence.over:
                    sequence.fail(ServiceRestarting("the inference service stops, or starts anew: ask again"))

    async def _step(self, parts: list[Part]) -> None:
        """What goes wrong is told those whom it concerns. Raises StaleEpoch, after which this process cannot go on."""
        try:
            sampled, counters = await self._on_compute_thread(parts)
        except Interrupted:
            return
        except StaleEpoch:
            raise
        except ServiceRestarting as error:
            _fail(parts, error)
        except Exception as error:
            # An expert that cannot be had is the matter of those who want it, a fault of ours that of whom it meets.
            if len(parts) == 1:
                _fail(parts, error if isinstance(error, ZipMoEError) else _fault(error))
            for part in parts if len(parts) > 1 else ():
                if not part.sequence.over:
                    await self._step([part])
        else:
            self.batch.advance(parts)
            self.steps += 1
            self.tokens += sum(len(part.span.tokens) for part in parts)
            for part, token, counted in zip(parts, sampled, counters, strict=True):
                part.sequence.counters += counted
                if token is not None and not part.sequence.over:
                    part.sequence.tell(token)

    async def _on_compute_thread(self, parts: list[Part]) -> tuple[list[Sampled | None], list[Counters]]:
        self._experts.resume()
        self._present = parts
        future = asyncio.get_running_loop().run_in_executor(self._compute_thread, self._compute, parts)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # The thread must be free before this process ends; it ends before its next expert.
            self._experts.interrupt()
            with contextlib.suppress(Exception):
                await future
            raise
        finally:
            self._present = []

    def _compute(self, parts: list[Part]) -> tuple[list[Sampled | None], list[Counters]]:
        """Compute thread: the next token of each, and what it took; None where the prompt goes on."""
        lengths, calls = [len(part.span.tokens) for part in parts], self._experts.calls
        decoding = np.repeat([part.decoding for part in parts], lengths)
        tally, record = Tally(lengths), self._record if decoding.any() else None
        if decoding.any():
            self._experts.use.advance()
        mixture = WalkedMixture(self._experts, self.model.arithmetic, decoding, tally, record)
        logits = self.model.forward([part.span for part in parts], self._cache, mixture)
        self._experts.count()
        if record is not None:
            record.advance()
        sampled = [
            sample(rows[-1], part.sequence.sampling, part.sequence.generator) if part.span.last else None
            for part, rows in zip(parts, logits, strict=True)
        ]
        return sampled, tally.counters(self._experts.calls - calls)


def _fault(error: Exception) -> ZipMoEError:
    log.error("a fault of ours in a step, told as INTERNAL", exc_info=error)
    return ZipMoEError(f"a fault of the service, see its log: {error!r}")


def _fail(parts: list[Part], error: ZipMoEError) -> None:
    for part in parts:
        if not part.sequence.over:
            part.sequence.fail(error)
