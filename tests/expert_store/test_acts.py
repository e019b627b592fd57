"""Acts: half an expert is read when half of it is lacking, and changing its form in memory changes no bit of it."""

import dataclasses

import pytest

from tests.expert_store.bench import Bench
from zipmoe.arena.layout import PLANES, Part, Slot, divide
from zipmoe.errors import InvalidRequest
from zipmoe.expert_store.store import Store
from zipmoe.expert_store.task import Act, Result, Urgency

PARTITION = (2, 3, 3)


def slots(bench: Bench, number: int) -> dict[Part, Slot]:
    """A slot of each kind: the arena, made for eight packed experts, divided in another way."""
    partition = divide(bench.arena.header, *PARTITION)
    assert partition.end <= bench.arena.header.size
    return {part: partition[part].slot(number) for part in Part}


def only(of: dict[Part, Slot], *parts: Part) -> dict[Part, Slot]:
    return {part: of[part] for part in parts}


async def test_planes_that_come_one_by_one_are_the_expert(packed_bench: Bench) -> None:
    bench = packed_bench
    async with bench.pool() as pool:
        store, place = Store(bench.pack, bench.arena, pool), slots(bench, 1)
        blob = bench.pack.expert(1, 2)
        read = []
        for part in PLANES:
            outcome = await store.load(1, 2, only(place, part), Urgency.DEMAND)
            assert outcome.result is Result.LOADED
            read.append(outcome.bytes_read)
        assert read == [blob.end - blob.sign_mantissa_offset, blob.exponent_bytes]
        assert bench.words(place) == bench.original(6)


async def test_a_load_of_one_plane_touches_no_other_slot(packed_bench: Bench) -> None:
    bench = packed_bench
    async with bench.pool() as pool:
        store, place = Store(bench.pack, bench.arena, pool), slots(bench, 0)
        for part in PLANES:
            before = {other: bench.memory(place[other]).tobytes() for other in Part if other is not part}
            await store.load(0, 3, only(place, part), Urgency.DEMAND)
            assert {other: bench.memory(place[other]).tobytes() for other in Part if other is not part} == before


async def test_words_are_recovered_from_planes_and_planes_from_words(packed_bench: Bench) -> None:
    bench = packed_bench
    async with bench.pool() as pool:
        store, one, other = Store(bench.pack, bench.arena, pool), slots(bench, 0), slots(bench, 1)
        await store.load(0, 1, only(one, *PLANES), Urgency.DEMAND)
        recovered = await store.load(0, 1, one, Urgency.KEEP, Act.RECOVER)
        assert bench.memory(one[Part.WORDS])[: 2 * bench.arena.header.weights].tobytes() == bench.original(1)
        reduced = await store.load(0, 1, other | only(one, Part.WORDS), Urgency.KEEP, Act.REDUCE)
        assert bench.words(other) == bench.original(1)
        for part in PLANES:
            assert bench.memory(other[part]).tobytes() == bench.memory(one[part]).tobytes()
        assert (recovered.bytes_read, reduced.bytes_read) == (0, 0)


async def test_words_that_are_not_the_experts_are_not_reduced_beyond_its_slot(packed_bench: Bench) -> None:
    bench = packed_bench
    async with bench.pool() as pool:
        store, place = Store(bench.pack, bench.arena, pool), slots(bench, 0)
        words = bench.memory(place[Part.WORDS])
        words[:] = bytes(range(256)) * (len(words) // 256)
        outcome = await store.load(0, 1, place, Urgency.KEEP, Act.REDUCE)
        assert outcome.result is Result.CORRUPT
        assert "no longer fits its slot" in outcome.detail


@pytest.mark.parametrize(
    ("act", "parts", "named"),
    [
        (Act.LOAD, (), "load cannot be of nothing"),
        (Act.LOAD, tuple(Part), "load cannot be of words, sign_mantissas, exponents"),
        (Act.LOAD, (Part.WORDS, Part.EXPONENTS), "load cannot be of words, exponents"),
        (Act.RECOVER, PLANES, "recover cannot be of sign_mantissas, exponents"),
        (Act.REDUCE, (Part.WORDS,), "reduce cannot be of words"),
    ],
)
async def test_other_parts_than_an_act_is_about_are_refused(
    packed_bench: Bench, act: Act, parts: tuple[Part, ...], named: str
) -> None:
    async with packed_bench.pool() as pool:
        store = Store(packed_bench.pack, packed_bench.arena, pool)
        with pytest.raises(InvalidRequest, match=f"{named} where experts are kept as pack3"):
            await store.load(0, 0, only(slots(packed_bench, 0), *parts), Urgency.DEMAND, act)


async def test_packed_exponents_are_refused_where_nothing_is_kept_packed(bench: Bench) -> None:
    async with bench.pool() as pool:
        word = bench.slots(0)[Part.WORDS]
        with pytest.raises(InvalidRequest, match="where experts are kept as bf16"):
            await Store(bench.pack, bench.arena, pool).load(0, 0, {Part.EXPONENTS: word}, Urgency.DEMAND)


async def test_a_slot_too_small_for_its_part_is_refused(packed_bench: Bench) -> None:
    async with packed_bench.pool() as pool:
        right = slots(packed_bench, 0)[Part.EXPONENTS]
        wrong = dataclasses.replace(right, length=right.length - 4096)
        store = Store(packed_bench.pack, packed_bench.arena, pool)
        with pytest.raises(InvalidRequest, match=f"no slot for exponents: {wrong.length} bytes"):
            await store.load(0, 0, {Part.EXPONENTS: wrong}, Urgency.DEMAND)
