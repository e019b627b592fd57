"""Attend: heads of any width against FP64, and what it refuses. tests/inference compares with eager attention."""

import numpy as np
import pytest

from tests.kernels.matrices import float64, random_matrix
from zipmoe import kernels

HEADS, WIDTH, PAGE = 2, 8, 4


def attend(tokens: int, sequences: list[tuple[int, int, list[int]]]) -> None:
    rows = np.zeros((tokens, HEADS * WIDTH), np.uint16)
    cache = np.zeros((4 * PAGE, HEADS * WIDTH), np.uint16)
    named = [(count, start, np.array(pages, np.int32)) for count, start, pages in sequences]
    kernels.attend(rows, rows, rows, cache, cache.copy(), named, PAGE, HEADS, 1.0, rows.copy(), 1)


# In and beside whole registers of every kind of processor.
@pytest.mark.parametrize("width", [1, 4, 8, 12, 16, 20, 24, 40, 64, 100, 128])
@pytest.mark.parametrize("shared", [1, 3])
def test_is_near_fp64_for_heads_of_any_width(width: int, shared: int) -> None:
    kept, seen, pages = 2, 11, np.array([3, 0, 2], np.int32)
    heads = kept * shared
    query, key, value = (random_matrix(seed, 1, count * width) for seed, count in ((1, heads), (2, kept), (3, kept)))
    keys, values = (random_matrix(seed, 4 * PAGE, kept * width) for seed in (4, 5))
    out, scale = np.empty_like(query), width**-0.5
    kernels.attend(query, key, value, keys, values, [(1, seen - 1, pages)], PAGE, heads, scale, out, 2)
    places = [pages[at // PAGE] * PAGE + at % PAGE for at in range(seen)]
    assert np.array_equal(keys[places[-1]], key[0])
    for head in range(heads):
        of = slice(head // shared * width, (head // shared + 1) * width)
        k, v, q = float64(keys[places, of]), float64(values[places, of]), float64(query[0, head * width :][:width])
        likely = np.exp(k @ q * scale)
        likely /= likely.sum()
        # Scores are rounded, and as they are scaled; so are shares, and what comes out.
        bound = likely @ np.abs(v) * (np.abs(k @ q * scale).max() * 2 + 2) * 2.0**-8
        assert (np.abs(float64(out[0, head * width :][:width]) - likely @ v) <= bound).all()


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
