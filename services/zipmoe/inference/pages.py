"""Pages: which pages of the cache are free, who holds the others, and which still hold the beginning of a known text.

A page that is full is never written again, so sequences that begin alike hold the same ones. A page that nobody holds
keeps what it has until it is taken: the longest unused first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from zipmoe.inference.model.kv_cache import PAGE


class Pages:
    def __init__(self, count: int) -> None:
        self.count = count
        self._empty = list(reversed(range(count)))
        self._holders = [0] * count
        # Held by nobody, and worth keeping; the longest unused first.
        self._resting: OrderedDict[int, None] = OrderedDict()
        self._by_name: dict[bytes, int] = {}
        self._names: dict[int, bytes] = {}

    @property
    def free(self) -> int:
        return len(self._empty) + len(self._resting)

    @property
    def used(self) -> int:
        return self.count - self.free

    def take(self, count: int) -> list[int]:
        """Pages to be written. The caller has made sure that so many are free."""
        taken = []
        for _ in range(count):
            if self._empty:
                page = self._empty.pop()
            else:
                page, _ = self._resting.popitem(last=False)
                del self._by_name[self._names.pop(page)]
            self._holders[page] = 1
            taken.append(page)
        return taken

    def share(self, names: Iterable[bytes]) -> list[int]:
        """Pages that hold the beginning of a text whose pages have these names: as far as they are known."""
        shared = []
        for name in names:
            page = self._by_name.get(name)
            if page is None:
                break
            self._resting.pop(page, None)
            self._holders[page] += 1
            shared.append(page)
        return shared

    def name(self, page: int, name: bytes) -> None:
        """It is full: from now on it can be shared, unless another one holds the same."""
        if name not in self._by_name and page not in self._names:
            self._by_name[name], self._names[page] = page, name

    def release(self, pages: Iterable[int]) -> None:
        # The last page first: it is of use only to who has those before it.
        for page in reversed(list(pages)):
            self._holders[page] -= 1
            if self._holders[page]:
                continue
            if page in self._names:
                self._resting[page] = None
            else:
                self._empty.append(page)


def names(tokens: Sequence[int], before: bytes = b"") -> Iterator[bytes]:
    """Of the full pages of a text: a page's name says what it holds and what came before. `before` is the name of the
    page in front of these tokens, or what parts their text from an equal one whose keys are others. Nobody can make up
    two texts of one name."""
    for start in range(0, len(tokens) - PAGE + 1, PAGE):
        before = hashlib.sha256(before + np.array(tokens[start : start + PAGE], np.uint32).tobytes()).digest()
        yield before
