"""Directory: an expert that is published is found where it lies; one that is withdrawn is not found at all."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.arena.shapes import header
from zipmoe.arena.directory import _STATE, Directory, Record, State
from zipmoe.arena.layout import PAGE, RECORD_BYTES

HEADER = header(3)


def directory() -> tuple[bytearray, Directory]:
    memory = bytearray(HEADER.size)
    return memory, Directory(memoryview(memory), HEADER)


def test_a_published_expert_is_found() -> None:
    _, records = directory()
    records.publish(5, HEADER.slots_offset)
    assert records.read(5) == Record(State.FULL, 1, HEADER.slots_offset)
    assert [records.resident_offset(expert) for expert in range(HEADER.records)] == [
        HEADER.slots_offset if expert == 5 else 0 for expert in range(HEADER.records)
    ]


def test_a_withdrawn_expert_is_absent() -> None:
    _, records = directory()
    records.publish(5, HEADER.slots_offset)
    records.withdraw(5)
    assert records.read(5).state is State.ABSENT
    assert records.resident_offset(5) == 0


def test_the_generation_counts_publications() -> None:
    _, records = directory()
    for count in range(1, 4):
        records.publish(2, HEADER.slots_offset + count * PAGE)
        assert records.read(2).generation == count
        records.withdraw(2)


def test_a_writer_killed_before_the_state_is_written_leaves_an_absent_expert() -> None:
    memory, records = directory()
    records.publish(5, HEADER.slots_offset)
    records.withdraw(5)
    place = HEADER.directory_offset + 5 * RECORD_BYTES
    records.publish(5, HEADER.slots_offset + HEADER.slot_bytes)
    memory[place : place + _STATE.size] = bytes(_STATE.size)
    assert records.resident_offset(5) == 0


@given(st.data())
def test_records_touch_nothing_else_in_the_arena(data: st.DataObject) -> None:
    layers, experts = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 70))
    shape = header(1, layers=layers, experts=experts, weights=64)
    memory = bytearray(shape.size)
    records = Directory(memoryview(memory), shape)
    for expert in range(shape.records):
        records.publish(expert, shape.slots_offset)
    end = shape.directory_offset + shape.records * RECORD_BYTES
    assert not any(memory[: shape.directory_offset])
    assert not any(memory[end:])
    assert all(records.resident_offset(expert) for expert in range(shape.records))


def test_the_schedulers_part_of_the_arena_is_the_same_records() -> None:
    memory, reader = directory()
    mine = memoryview(memory)[PAGE : HEADER.use_offset]
    Directory(mine, replace(HEADER), start=PAGE).publish(7, HEADER.slots_offset)
    assert reader.resident_offset(7) == HEADER.slots_offset
