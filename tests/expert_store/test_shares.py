"""Shares: two workers bring in a large expert, and what became of it is the worst of what became of its planes."""

from dataclasses import replace
from itertools import product

import pytest

from zipmoe.expert_store.shares import WORTH_SHARING_BYTES, shared_out, together
from zipmoe.expert_store.task import Act, Outcome, Result, Task
from zipmoe.pack.blob import CHUNK, Blob


def task(exponent_bytes: int) -> Task:
    blob = Blob(0, 4 * CHUNK, (exponent_bytes // 4,) * 4, (4 * CHUNK, 4 * CHUNK), 1, 2, 3)
    return Task(Act.LOAD, 0, 4096, 8192, 3, blob.to_wire())


def test_a_large_load_of_both_planes_is_two_loads_the_larger_first() -> None:
    whole = task(WORTH_SHARING_BYTES)
    sign_mantissas, exponents = shared_out(whole)
    assert (sign_mantissas.sign_mantissas, sign_mantissas.exponents) == (4096, 0)
    assert (exponents.sign_mantissas, exponents.exponents) == (0, 8192)
    assert replace(sign_mantissas, exponents=8192) == replace(exponents, sign_mantissas=4096) == whole


@pytest.mark.parametrize(
    "whole",
    [
        task(WORTH_SHARING_BYTES - 4 * 4096),
        replace(task(WORTH_SHARING_BYTES), exponents=0),
        replace(task(WORTH_SHARING_BYTES), sign_mantissas=0),
        replace(task(WORTH_SHARING_BYTES), words=4096, sign_mantissas=0, exponents=0),
        replace(task(WORTH_SHARING_BYTES), words=12288, act=Act.RECOVER),
        replace(task(WORTH_SHARING_BYTES), words=12288, act=Act.REDUCE),
    ],
)
def test_what_is_small_or_of_one_part_is_one_load(whole: Task) -> None:
    assert shared_out(whole) == [whole]


def test_an_expert_is_there_only_if_both_its_planes_are() -> None:
    for one, other in product(Result, Result):
        made = together([Outcome(one, one.name, 1, 10, 100), Outcome(other, other.name, 2, 20, 200)])
        assert (made.result is Result.LOADED) == (one is other is Result.LOADED)
        assert made.result in {one, other}
        assert made.detail == made.result.name
        assert (made.bytes_read, made.read_nanoseconds, made.decode_nanoseconds) == (3, 30, 300)
        # What is damaged stays damaged however often it is tried; what is lost has failed, what was dropped has not.
        worse = (Result.CORRUPT, Result.LOST, Result.DROPPED, Result.LOADED)
        assert made.result is min(one, other, key=worse.index)
