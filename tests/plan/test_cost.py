"""Cost: what is resident is only multiplied; what is not is read at the disk's rate, and overlaps where it can."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plan.shapes import MODEL, ONE, WEIGHTS, device
from zipmoe.plan.cost import Found, at, bytes_read, layer_seconds

READ = (WEIGHTS + MODEL.stored) / 1e9  # 5.7 ms
counts = st.builds(Found, *[st.integers(0, 5)] * 5)


def test_residents_cost_their_multiplication() -> None:
    assert layer_seconds(Found(compressed=2), ONE, MODEL, device()) == pytest.approx(2e-3)
    assert layer_seconds(Found(full=2, compressed=1), ONE, MODEL, device()) == pytest.approx(5e-3)
    assert layer_seconds(Found(), ONE, MODEL, device()) == 0


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        (Found(absent=1), READ + 1e-3),
        (Found(sign_mantissas=1), MODEL.stored / 1e9 + 1e-3),
        (Found(exponents=1), WEIGHTS / 1e9 + 1e-3),
        # Both are read at once, each at half the rate, and multiplied one after the other.
        (Found(absent=2), 2 * READ + 2e-3),
        # The third begins when the first two are there.
        (Found(absent=3), 3 * READ + 1e-3),
        # Residents are multiplied meanwhile.
        (Found(compressed=4, absent=1), READ + 1e-3),
        (Found(compressed=9, absent=1), 10e-3),
    ],
)
def test_what_is_missing_costs_its_reading_and_then_its_multiplication(found: Found, seconds: float) -> None:
    assert layer_seconds(found, ONE, MODEL, device()) == pytest.approx(seconds, rel=1e-3)


def test_asking_and_decoding_come_on_top() -> None:
    asked = device(acquire=4e-3)
    assert layer_seconds(Found(absent=1), ONE, MODEL, asked) == pytest.approx(4e-3 + READ + 1e-3, rel=1e-3)
    # A billion weights a second: 4.1 ms an expert, of which hashing is nothing here.
    stored = replace(MODEL, codec="zstd")
    assert layer_seconds(Found(absent=1), ONE, stored, device()) == pytest.approx(READ + 4.1e-3 + 1e-3, rel=1e-2)
    assert layer_seconds(Found(exponents=1), ONE, stored, device()) == pytest.approx(WEIGHTS / 1e9 + 1e-3, rel=1e-2)


def test_the_mean_is_of_the_times_and_not_of_the_tokens() -> None:
    """Nine tokens take 1.53 ms, on the line from 1 to 16; half of the experts with one and half with 17 take more."""
    uneven = ((1, 0.5), (17, 0.5))
    most = 2e-3 * 17 / 16
    assert layer_seconds(Found(compressed=2), uneven, MODEL, device()) == pytest.approx(1e-3 + most)


def test_asking_is_slower_while_residents_are_multiplied() -> None:
    """By what they take each other of the cores."""
    busy = device(acquire=4e-3, acquire_cpu=4e-3)
    assert layer_seconds(Found(absent=1), ONE, MODEL, busy) == pytest.approx(4e-3 + READ + 1e-3, rel=1e-3)
    assert layer_seconds(Found(compressed=1, absent=1), ONE, MODEL, busy) == pytest.approx(
        1e-3 + 4e-3 + READ + 1e-3, rel=1e-3
    )
    assert layer_seconds(Found(compressed=5, absent=1), ONE, MODEL, busy) == pytest.approx(
        2e-3 + 4e-3 + READ + 1e-3, rel=1e-3
    )


def test_cores_that_are_busy_cannot_multiply() -> None:
    busy = device(acquire_cpu=40e-3)
    assert layer_seconds(Found(compressed=1, absent=1), ONE, MODEL, busy) == pytest.approx(
        1e-3 + 1e-3 + 20e-3, rel=1e-3
    )


@given(counts)
def test_no_layer_is_faster_than_its_disk_or_its_multiplications(found: Found) -> None:
    seconds = layer_seconds(found, ONE, MODEL, device())
    multiplied = 2e-3 * found.full + 1e-3 * (found.compressed + found.sign_mantissas + found.exponents + found.absent)
    assert seconds >= max(bytes_read(found, MODEL) / 1e9, multiplied) * (1 - 1e-9)
    decoded = WEIGHTS / 1e15 * (found.sign_mantissas + found.exponents + found.absent)
    assert seconds <= bytes_read(found, MODEL) / 1e9 + multiplied + decoded + 1e-9


@given(counts, st.sampled_from(["absent", "sign_mantissas", "exponents"]))
def test_one_that_is_resident_is_never_slower_than_one_that_is_not(found: Found, state: str) -> None:
    number = getattr(found, state)
    if number:
        better = replace(found, compressed=found.compressed + 1, **{state: number - 1})
        assert layer_seconds(better, ONE, MODEL, device()) <= layer_seconds(found, ONE, MODEL, device()) + 1e-12


@pytest.mark.parametrize(
    ("x", "value"), [(0.5, 1e-3), (1, 1e-3), (4, 1.2e-3), (8.5, 1.5e-3), (16, 2e-3), (32, 4e-3), (160, 20e-3)]
)
def test_a_curve_is_read_between_its_points_and_goes_on_in_proportion(x: float, value: float) -> None:
    assert at({1: 1e-3, 16: 2e-3}, x) == pytest.approx(value)


def test_a_rate_does_not_grow_beyond_what_was_measured() -> None:
    assert at({1: 1.2e9, 2: 1.0e9}, 4) == 1.0e9
