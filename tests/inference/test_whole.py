"""A layer that is resident as a whole: one lease for all of it, one call, and what a walk would give."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from tests.arena.shapes import header, shared_folder
from tests.inference.family import same_bits
from tests.kernels.matrices import random_matrix
from tests.kernels.packed import pack
from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory
from zipmoe.arena.layout import PLANES, Part
from zipmoe.arena.leases import Leases
from zipmoe.arena.use import Use, UseTable
from zipmoe.inference.experts import Experts, Interrupted
from zipmoe.inference.mixture import WalkedMixture
from zipmoe.inference.model.fast import Fast, tensor
from zipmoe.inference.model.mixture import Routed
from zipmoe.inference.model.reference import Reference
from zipmoe.inference.scheduler_client import SchedulerClient

LAYERS, EXPERTS, HIDDEN, TOP = 2, 5, 64, 2
# Of each layer, an expert that no token wants, and a slot that nobody has.
UNWANTED, SPARE = EXPERTS - 1, LAYERS * EXPERTS


class Nobody(SchedulerClient):
    """Nothing may be asked of it."""

    def __init__(self) -> None:
        pass


class Scheduler:
    """Puts experts into the slots of an arena and takes them out, as the scheduler does."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._directory = Directory(arena.memory, arena.header)
        self.leases = Leases(arena.path)

    def put(self, expert: int, slot: int) -> None:
        """Weights depend on the expert alone."""
        size = self._arena.header
        planes = pack(3, random_matrix(expert, 3 * HIDDEN, HIDDEN, HIDDEN**-0.5).reshape(-1))
        first = size.slots_offset + slot * size.slot_bytes
        at = dict(zip(PLANES, (first, first + size.part_bytes(Part.SIGN_MANTISSAS)), strict=True))
        for place, plane in zip(at.values(), planes, strict=True):
            self._arena.memory[place : place + len(plane)] = plane
        with self.leases.claimed(expert) as claimed:
            assert claimed
            self._directory.publish(expert, at)

    def drop(self, expert: int) -> None:
        with self.leases.claimed(expert) as claimed:
            assert claimed
            self._directory.withdraw(expert)


@pytest.fixture
def arena() -> Iterator[Arena]:
    shape = header(SPARE + 1, LAYERS, EXPERTS, 3 * HIDDEN * HIDDEN, part=2 * 4096 + 3 * HIDDEN * HIDDEN // 2)
    with shared_folder() as folder:
        yield Arena.create(folder / "arena", replace(shape, epoch=1))


@pytest.fixture
def scheduler(arena: Arena) -> Scheduler:
    full = Scheduler(arena)
    for expert in range(LAYERS * EXPERTS):
        full.put(expert, expert)
    return full


@pytest.fixture
async def experts(arena: Arena) -> Experts:
    return Experts(arena, HIDDEN, Nobody())


def routed(tokens: int, arithmetic: Fast | Reference) -> Routed:
    chance = np.random.default_rng(tokens)
    chosen = np.array([chance.permutation(UNWANTED)[:TOP] for _ in range(tokens)])
    x = random_matrix(tokens, tokens, HIDDEN)
    shares = chance.random((tokens, TOP), np.float32)
    return Routed(tensor(x) if isinstance(arithmetic, Reference) else x, chosen, shares)


def mixed(experts: Experts, arithmetic: Fast | Reference, group: Routed) -> Tensor:
    (made,) = WalkedMixture(experts, arithmetic, np.ones(len(group.experts), np.bool_))(0, [group])
    return made if isinstance(made, Tensor) else tensor(made)


CHOSEN = np.array([[0, 2], [3, 2]])


async def test_all_are_leased_and_released_at_once(experts: Experts, scheduler: Scheduler) -> None:
    with experts.whole(1, CHOSEN) as weights:
        assert weights is not None
        assert len(weights) == EXPERTS
        assert [scheduler.leases.held(number) for number in range(2 * EXPERTS)] == [False] * EXPERTS + [True] * EXPERTS
        assert not scheduler.leases.claim(EXPERTS + 1)
    assert not scheduler.leases.held(0, 2 * EXPERTS)


async def test_there_is_no_such_layer_while_an_expert_is_absent_or_being_changed(
    experts: Experts, scheduler: Scheduler
) -> None:
    def found() -> bool:
        with experts.whole(0, CHOSEN) as weights:
            return weights is not None

    assert found()
    scheduler.drop(1)
    assert not found()
    assert not scheduler.leases.held(0, EXPERTS)
    with scheduler.leases.claimed(2):
        assert not found()
    scheduler.put(1, SPARE)
    assert found()


@pytest.mark.parametrize("tokens", [1, 2, 7])
@pytest.mark.parametrize("arithmetic", [Fast(2), Reference(2)], ids=lambda one: one.name)
async def test_gives_what_a_walk_gives(
    experts: Experts, scheduler: Scheduler, tokens: int, arithmetic: Fast | Reference
) -> None:
    group = routed(tokens, arithmetic)
    whole = mixed(experts, arithmetic, group)
    scheduler.drop(UNWANTED)
    assert same_bits(mixed(experts, arithmetic, group), whole)


async def test_moved_experts_are_found_where_they_are(experts: Experts, scheduler: Scheduler, arena: Arena) -> None:
    group = routed(1, Fast(2))
    before = mixed(experts, Fast(2), group)
    moved, size = int(group.experts[0, 0]), arena.header
    scheduler.drop(moved)
    scheduler.put(moved, SPARE)
    arena.memory[size.slots_offset + moved * size.slot_bytes :][: size.weights] = bytes(size.weights)
    assert same_bits(mixed(experts, Fast(2), group), before)


@pytest.mark.usefixtures("scheduler")
async def test_uses_are_counted_when_the_step_ends(experts: Experts, arena: Arena) -> None:
    seen = UseTable(arena.memory, arena.header)
    experts.use.advance()
    for layer in range(LAYERS):
        with experts.whole(layer, CHOSEN):
            pass
    assert seen.total() == 0
    experts.count()
    experts.count()
    assert seen.total() == 6
    assert [seen.read(number).uses for number in range(LAYERS * EXPERTS)] == [1, 0, 1, 1, 0] * LAYERS
    assert seen.read(0) == Use(1, 1, 1.0, 1.0)


async def test_nothing_is_begun_for_nobody(experts: Experts, scheduler: Scheduler) -> None:
    experts.interrupt()
    with pytest.raises(Interrupted), experts.whole(0, CHOSEN):
        pass
    assert not scheduler.leases.held(0, EXPERTS)
    experts.resume()
    with experts.whole(0, CHOSEN) as weights:
        assert weights is not None
