"""Batch: who runs, who waits, and what goes through the model next. Decisions alone: nothing here waits for anything.

Between two steps, sequences join as long as there are pages for their prompts, and those that are over leave. A step
has one token of every sequence that writes, and beside them up to CHUNK tokens of prompts: half of it goes to the
prompt that came first, the other half to the shortest, so that a long one neither waits for ever nor makes others wait.
When pages run out, the sequence that came last gives its own back and is computed anew later.
"""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from zipmoe.errors import CacheExhausted
from zipmoe.inference.model.kv_cache import PAGE, pages_for
from zipmoe.inference.model.span import Span
from zipmoe.inference.pages import Pages, names
from zipmoe.inference.sequence import Sequence

# Tokens of prompts in a step. More are computed together the faster for each, and keep those who write waiting longer.
CHUNK: Final = 256
MOST_WAITING: Final = 64
# What stands in front of prompts past the border. No page's name: those have 32 bytes.
LONG: Final = b"long"


@dataclass(frozen=True, slots=True)
class Part:
    """A sequence's part of a step. `decoding`: what it has written last, not its prompt."""

    sequence: Sequence
    span: Span
    decoding: bool


class Batch:
    def __init__(self, pages: Pages, most: int, divides: bool, border: int | None = None) -> None:
        """At most `most` run at once. `divides`: prompts may be cut into pieces and share pages; those of more tokens
        than `border` with one another alone."""
        self.pages = pages
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self._ends: deque[float] = deque(maxlen=16)
        self._most = most
        self._divides = divides
        self._border = border

    def check_room(self) -> None:
        """Raises CacheExhausted if too many wait."""
        if len(self.waiting) >= MOST_WAITING:
            after = self._pace()
            raise CacheExhausted(f"{len(self.waiting)} requests wait already: ask again in {after:.1f} s", after)

    def add(self, sequence: Sequence) -> None:
        """Raises CacheExhausted if too many wait."""
        self.check_room()
        self.waiting.append(sequence)

    def step(self) -> list[Part]:
        """What goes through the model next; nothing if nobody wants anything."""
        self._let_go()
        self._admit()
        tokens = self._tokens()
        parts = []
        for sequence in list(self.running):
            count = tokens[id(sequence)]
            if count and sequence in self.running and self._make_room(sequence, sequence.computed + count):
                parts.append(self._part(sequence, count))
        # Who was cut off for those after it has no pages any more.
        return [part for part in parts if part.sequence in self.running]

    def advance(self, parts: Iterable[Part]) -> None:
        """They have gone through the model: their tokens are in the cache."""
        for part in parts:
            sequence = part.sequence
            sequence.computed = part.span.end
            if self._divides:
                self._name(sequence)

    # -- joining and leaving

    def _pace(self) -> float:
        """Seconds from one sequence's end to the next one's: when there will be a place."""
        if len(self._ends) < 2:
            return 1.0
        return min(60.0, max(0.1, (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)))

    def _let_go(self) -> None:
        for sequence in [each for each in self.running if each.over]:
            self.running.remove(sequence)
            self._release(sequence)
            self._ends.append(time.monotonic())
        if any(each.over for each in self.waiting):
            self.waiting = deque(each for each in self.waiting if not each.over)

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self._most:
            sequence = self.waiting[0]
            if self._divides:
                # All but the last token: its logits are wanted.
                known = list(names(sequence.tokens[:-1], self._root(sequence)))
                sequence.pages = self.pages.share(known)
                sequence.names = known[: len(sequence.pages)]
            wanted = min(pages_for(len(sequence.tokens) + 1), self.pages.count)
            if wanted - len(sequence.pages) > self.pages.free:
                self._release(sequence)
                return
            sequence.computed = len(sequence.pages) * PAGE
            if not sequence.started:
                sequence.started, sequence.reused = time.monotonic(), sequence.computed
            self.running.append(self.waiting.popleft())

    def _release(self, sequence: Sequence) -> None:
        self.pages.release(sequence.pages)
        sequence.pages, sequence.names, sequence.computed = [], [], 0

    # -- a step

    def _tokens(self) -> dict[int, int]:
        """How many tokens of each sequence go through the model, by its id."""
        if not self._divides:
            return {id(each): whole(each) for each in self.running}
        prompts = {id(each): each.missing for each in self.running if each.missing > 1}
        return {id(each): 1 for each in self.running} | shares(prompts, CHUNK)

    def _make_room(self, sequence: Sequence, tokens: int) -> bool:
        """Has pages for so many tokens, those of others if need be; False if it had to give up its own."""
        wanted = pages_for(tokens) - len(sequence.pages)
        while wanted > self.pages.free:
            last = self.running.pop()
            self._release(last)
            self.waiting.appendleft(last)
            if last is sequence:
                return False
        sequence.pages += self.pages.take(wanted)
        return True

    def _part(self, sequence: Sequence, count: int) -> Part:
        end = sequence.computed + count
        tokens = np.array(sequence.tokens[sequence.computed : end], np.int64)
        last = int(end == len(sequence.tokens))
        pages = np.array(sequence.pages, np.int32)
        span = Span(tokens, sequence.computed, pages, last, whole=sequence.prompt)
        return Part(sequence, span, decoding=count == 1 and sequence.computed >= sequence.prompt)

    def _name(self, sequence: Sequence) -> None:
        """Those pages that are full now."""
        named, full = len(sequence.names), sequence.computed // PAGE
        if full > named:
            before = sequence.names[-1] if sequence.names else self._root(sequence)
            sequence.names += names(sequence.tokens[named * PAGE : full * PAGE], before)
            for page, name in zip(sequence.pages[named:full], sequence.names[named:], strict=True):
                self.pages.name(page, name)

    def _root(self, sequence: Sequence) -> bytes:
        """What its first page's name begins with. Keys of equal texts are others if only one prompt is past the border:
        no page of the one may serve the other."""
        return LONG if self._border is not None and sequence.prompt > self._border else b""


def shares(missing: dict[int, int], chunk: int) -> dict[int, int]:
    """How many of `chunk` tokens each prompt gets, of which so many tokens are missing; the oldest comes first."""
    if not missing:
        return {}
    oldest = next(iter(missing))
    given = dict.fromkeys(missing, 0)

    def give(who: int, most: int) -> None:
        nonlocal chunk
        more = min(most, missing[who] - given[who], chunk)
        given[who] += more
        chunk -= more

    give(oldest, chunk // 2)
    for who in sorted(missing, key=lambda who: missing[who]):
        give(who, chunk)
    return given


def whole(sequence: Sequence) -> int:
    """The tokens that go next where rows are not to be divided otherwise than they were the first time."""
    return sequence.prompt if not sequence.computed else min(1, sequence.missing)
