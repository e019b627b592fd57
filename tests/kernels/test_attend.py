"""Attend: what it refuses. What it computes is compared with eager attention in tests/inference."""

import numpy as np
import pytest

from zipmoe import kernels

HEADS, WIDTH, PAGE = 2, 8, 4


def attend(tokens: int, sequences: list[tuple[int, int, list[int]]]) -> None:
    rows = np.zeros((tokens, HEADS * WIDTH), np.uint16)
    cache = np.zeros((4 * PAGE, HEADS * WIDTH), np.uint16)
    named = [(count, start, np.array(pages, np.int32)) for count, start, pages in sequences]
    kernels.attend(rows, rows, rows, cache, cache.copy(), named, PAGE, HEADS, 1.0, rows.copy(), 1)


def test_takes_tokens_of_several_sequences_and_of_none() -> None:
    attend(3, [(1, 5, [0, 2]), (2, 2, [1])])
    attend(0, [])


def test_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"tokens of all sequences 2 does not fit query \[3, 16\]"):
        attend(3, [(1, 0, [0]), (1, 0, [1])])
    with pytest.raises(ValueError, match=r"pages 1 does not fit tokens 2: they have room for start \+ tokens"):
        attend(2, [(2, 3, [0])])
    for page in (-1, 4):
        with pytest.raises(ValueError, match=rf"page {page} is not in keys \[16, 16\]"):
            attend(1, [(1, 0, [page])])
