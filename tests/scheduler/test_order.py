"""Order: each order brings in every job once, and with any order a layer takes at most three times what it must.

No schedule at all takes less than `least`: the disk has to read everything; the cores have to decode everything; and of
any jobs, the first to be multiplied has to be read and decoded before, and then all of them are multiplied.

Why three times, if nothing idles that could work: look at the last stretch in which the multiplying unit is busy. What
it multiplies there was not ready before. The quickest of these to read and decode was read when the disk was through;
it got a core at the latest when the cores were through with the others; then it was decoded, and with that the stretch
began or had begun. The first two take `least` at most, and so do the decoding and the stretch together.

The paper's bound is 3 - 1/cores. Decoding waits for no I/O thread there, so that there are two stages; where one of our
three has nothing to do, it holds here too. With all three it does not: no less than three times can be promised then.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipmoe.scheduler.order import ORDERS, Job, affinity, johnson, makespan

seconds = st.one_of(st.just(0.0), st.integers(1, 1000).map(float))
jobs = st.builds(
    Job,
    expert=st.integers(0, 1000),
    read=seconds,
    decode=seconds,
    multiply=seconds,
    tokens=st.integers(1, 4),
    sign_mantissa=st.booleans(),
)
layers = st.lists(jobs, max_size=5)
cores = st.integers(1, 3)
stages = st.sampled_from(["read", "decode", "multiply"])

# The same seconds, added up in another order.
ROUNDING = 1 + 1e-9


def job(read: float, decode: float, multiply: float) -> Job:
    return Job(0, read, decode, multiply, tokens=1, sign_mantissa=True)


def least(layer: Sequence[Job], cores: int) -> float:
    """Seconds, as above. A bound proven for it is stricter than one against the best schedule, which takes longer."""
    load = max(sum(entry.read for entry in layer), sum(entry.decode for entry in layer) / cores)
    before = [(entry.read + entry.decode, entry.multiply) for entry in layer]
    return max([load, *(first + sum(time for ready, time in before if ready >= first) for first, _ in before)])


def best(layer: Sequence[Job], cores: int) -> float:
    """Seconds, of all orders in which all three resources may take the jobs."""
    return min(makespan(order, cores) for order in permutations(layer))


def one_by_one(layer: Sequence[Job]) -> float:
    """Seconds, if everything idles while one expert is read, decoded or multiplied."""
    return sum(entry.read + entry.decode + entry.multiply for entry in layer)


def without(layer: Sequence[Job], stage: str) -> list[Job]:
    return [Job(**(asdict(entry) | {stage: 0.0})) for entry in layer]


@given(layer=layers, cores=cores)
def test_in_every_order_every_job_comes_once(layer: list[Job], cores: int) -> None:
    for order in ORDERS.values():
        assert Counter(order(layer, cores)) == Counter(layer)


@given(layer=layers, cores=cores)
def test_in_every_order_a_layer_takes_three_times_at_most_what_it_must(layer: list[Job], cores: int) -> None:
    for order in ORDERS.values():
        assert makespan(order(layer, cores), cores) <= 3 * least(layer, cores) * ROUNDING


@given(layer=layers, cores=cores, stage=stages)
def test_of_two_stages_the_papers_bound_holds(layer: list[Job], cores: int, stage: str) -> None:
    layer = without(layer, stage)
    for order in ORDERS.values():
        assert makespan(order(layer, cores), cores) <= (3 - 1 / cores) * least(layer, cores) * ROUNDING


@given(layer=layers, cores=cores)
def test_no_order_is_shorter_than_the_least(layer: list[Job], cores: int) -> None:
    assert best(layer, cores) * ROUNDING >= least(layer, cores)


@given(layer=layers, cores=cores)
def test_no_layer_is_done_before_each_resource_has_done_its_part(layer: list[Job], cores: int) -> None:
    seconds = makespan(layer, cores) * ROUNDING
    assert seconds >= sum(entry.read for entry in layer)
    assert seconds >= sum(entry.decode for entry in layer) / cores
    assert seconds >= sum(entry.multiply for entry in layer)


def test_three_times_is_not_held_where_resources_idle() -> None:
    layer = [job(0.0, 1.0, 0.0)] * 8
    assert one_by_one(layer) > 3 * least(layer, cores=4)
    assert makespan(layer, cores=4) == least(layer, cores=4) == 2.0


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_nor_can_less_than_three_be_promised_of_every_order(cores: int) -> None:
    tiny = 1e-6
    layer = [job(1.0, 0.0, 0.0), *[job(tiny, 1.0, 0.0)] * cores, job(tiny, tiny, 1.0)]
    assert makespan(layer, cores) == pytest.approx(3.0, rel=1e-4)
    assert best(layer, cores) == pytest.approx(1.0, rel=1e-4)


def test_a_layer_is_brought_in_as_worked_by_hand() -> None:
    slow, quick = job(read=2, decode=3, multiply=1), job(read=1, decode=1, multiply=4)
    # Read until 2 and 3, decoded until 5 and 6, multiplied until 6 and 10.
    assert makespan([slow, quick], cores=1) == 10
    # The other core has `quick` at 4, before `slow`: multiplied until 8, and `slow` until 9.
    assert makespan([slow, quick], cores=2) == 9
    # Read until 1 and 3, decoded until 2 and 6, multiplied until 6 and 7.
    assert makespan([quick, slow], cores=1) == 7


def test_what_lacks_nothing_waits_for_no_disk() -> None:
    assert makespan([job(5, 1, 1), job(0, 4, 1)], cores=1) == 7


def test_of_those_ready_the_first_in_order_goes_first() -> None:
    # The core is taken until 3. The last could have had it next from the start, the second since 2.
    assert makespan([job(0, 3, 0), job(2, 1, 5), job(0, 3, 0)], cores=1) == 3 + 1 + 5


def test_two_cores_start_together_what_was_read_together() -> None:
    nothing = 1e-20
    assert makespan([job(5, 1, 0), job(nothing, 1, 5)], cores=2) == 5 + 1 + 5


def test_nothing_takes_no_time() -> None:
    assert makespan([], cores=2) == 0


@given(layer=layers, cores=cores, stage=st.sampled_from(["decode", "multiply"]))
def test_johnsons_is_the_best_of_two_stages(layer: list[Job], cores: int, stage: str) -> None:
    cores = cores if stage == "decode" else 1
    layer = without(layer, stage)
    assert makespan(johnson(layer, cores), cores) <= best(layer, cores) * ROUNDING


A = Job(0, read=4, decode=2, multiply=1, tokens=3, sign_mantissa=True)
B = Job(1, read=4, decode=2, multiply=1, tokens=5, sign_mantissa=True)
C = Job(2, read=1, decode=3, multiply=1, tokens=1, sign_mantissa=False)
D = Job(3, read=1, decode=6, multiply=1, tokens=4, sign_mantissa=False)
E = Job(4, read=1, decode=3, multiply=1, tokens=2, sign_mantissa=False)
F = Job(5, read=4, decode=2, multiply=1, tokens=2, sign_mantissa=True)


@pytest.mark.parametrize(
    ("layer", "cores", "ordered"),
    [
        # B and D: 5 of reading, 8 of decoding. A and E: 5 and 5; C makes it 6 and 8.
        pytest.param([A, B, C, D, E, F], 1, [B, D, A, E, C, F], id="a block ends when the cores fall behind"),
        # B and D: 5 and 8/2. With E, 6 and 11/2; with C, 7 and 14/2.
        pytest.param([A, B, C, D, E, F], 2, [B, D, E, C, A, F], id="two cores fall behind later"),
        pytest.param([C, D, E], 1, [D, E, C], id="nothing for the disk"),
        pytest.param([A, B], 1, [B, A], id="nothing but for the disk"),
        pytest.param([C, A, E, D], 1, [A, D, E, C], id="what is left comes last"),
    ],
)
def test_affinity_mixes_what_the_disk_and_what_the_cores_have_to_do(
    layer: list[Job], cores: int, ordered: list[Job]
) -> None:
    assert affinity(layer, cores) == ordered
