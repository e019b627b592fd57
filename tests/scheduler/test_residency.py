"""Residency: whatever happens, every slot is exactly one of free, loading and resident."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zipmoe.scheduler.residency import Residency

SLOTS, EXPERTS = 5, 12


class Steps(RuleBasedStateMachine):
    """A residency beside the plainest model of it: what each slot holds."""

    def __init__(self) -> None:
        super().__init__()
        self.residency = Residency(SLOTS)
        self.holds: dict[int, tuple[str, int]] = {}

    def experts(self, state: str) -> list[int]:
        return sorted(expert for was, expert in self.holds.values() if was == state)

    def slot(self, expert: int) -> int:
        return next(slot for slot, (_, held) in self.holds.items() if held == expert)

    @precondition(lambda self: len(self.holds) < SLOTS)
    @rule(data=st.data())
    def place(self, data: st.DataObject) -> None:
        held = {expert for _, expert in self.holds.values()}
        expert = data.draw(st.sampled_from([expert for expert in range(EXPERTS) if expert not in held]))
        slot = self.residency.place(expert)
        assert slot not in self.holds
        self.holds[slot] = ("loading", expert)

    @precondition(lambda self: self.experts("loading"))
    @rule(data=st.data())
    def loaded(self, data: st.DataObject) -> None:
        expert = data.draw(st.sampled_from(self.experts("loading")))
        self.residency.loaded(expert)
        self.holds[self.slot(expert)] = ("resident", expert)

    @precondition(lambda self: self.experts("loading"))
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        expert = data.draw(st.sampled_from(self.experts("loading")))
        self.residency.abandon(expert)
        del self.holds[self.slot(expert)]

    @precondition(lambda self: self.experts("resident"))
    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        expert = data.draw(st.sampled_from(self.experts("resident")))
        self.residency.evict(expert)
        del self.holds[self.slot(expert)]

    @rule()
    def restart(self) -> None:
        """What was loading is gone; what was resident is found again where it was."""
        residents = dict(self.residency.resident)
        self.residency = Residency(SLOTS)
        assert self.residency.adopt(residents.items()) == []
        self.holds = {slot: held for slot, held in self.holds.items() if held[0] == "resident"}

    @invariant()
    def agrees(self) -> None:
        self.residency.check()
        assert self.residency.free == SLOTS - len(self.holds)
        assert self.residency.loading == {expert: self.slot(expert) for expert in self.experts("loading")}
        assert self.residency.resident == {expert: self.slot(expert) for expert in self.experts("resident")}


Steps.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestSteps = Steps.TestCase


def test_adopting_rejects_slots_that_are_taken_or_are_none() -> None:
    residency = Residency(3)
    assert residency.adopt([(10, 1), (11, 1), (12, -1), (13, 3), (14, 2)]) == [11, 12, 13]
    assert residency.resident == {10: 1, 14: 2}
    residency.check()


@pytest.mark.parametrize("taken", ["loading", "resident"])
def test_the_audit_sees_a_slot_that_is_held_twice(taken: str) -> None:
    residency = Residency(3)
    slot = residency.place(7)
    getattr(residency, f"_{taken}")[8] = slot
    with pytest.raises(AssertionError, match="slots lost or doubled"):
        residency.check()


def test_the_audit_sees_a_slot_that_was_lost() -> None:
    residency = Residency(3)
    residency._free.pop()
    with pytest.raises(AssertionError, match="slots lost or doubled"):
        residency.check()


def test_the_audit_sees_an_expert_that_is_two() -> None:
    residency = Residency(3)
    residency.place(7)
    residency._resident[7] = residency._free.pop()
    with pytest.raises(AssertionError, match="loading and resident"):
        residency.check()
