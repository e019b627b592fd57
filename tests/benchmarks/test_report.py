"""Report: ratios are ours against others, and who could not run is said so, not dropped."""

import pytest
from benchmarks.peers.ablation import RAW
from benchmarks.peers.case import ACCELERATE, LLAMACPP
from benchmarks.peers.report import by_place, figures, ratios
from benchmarks.peers.table import ladder, lines

from tests.benchmarks.results import result


def test_how_many_times_as_fast() -> None:
    found = ratios(
        by_place(
            [
                result([0.1, 0.1, 9.0], peak=900),
                result([0.4], contestant=LLAMACPP),
                result([0.2], contestant=RAW),
                result([1.0], contestant=ACCELERATE),
                result([0.1], limit="40", peak=950, ttft=2.0),
                result([0.3], contestant=LLAMACPP, limit="40", ttft=3.0),
            ]
        )
    )
    assert found["tpot_vs_llamacpp"] == {"40": 3.0, "60": 4.0, "80": None, "none": None}
    assert found["tpot_vs_raw_lru"] == {"40": None, "60": 2.0, "80": None}
    assert found["tpot_vs_accelerate_60"] == 10.0
    assert found["ttft256_vs_llamacpp_40"] == 1.5
    assert found["peak_memory_vs_declared"] == 0.95


def test_who_cannot_run_is_reported_with_the_reason() -> None:
    failed = result(contestant=ACCELERATE, failure="killed: it wanted more memory than the limit")
    assert figures(failed)["failure"] == failed.failure
    assert figures(failed)["tpot"] is None
    assert any(failed.failure in line for line in lines([failed]))
    assert ratios(by_place([failed, result([0.1])]))["tpot_vs_accelerate_60"] is None


def test_bytes_say_what_is_possible() -> None:
    """By disk 20 bytes a token at 100 bytes/s; by memory two packed experts and the rest at 1000 bytes/s."""
    one = result([0.2, 0.4], counts={"words": 0, "packed": 3, "absent": 1}, bytes_read=40)
    assert one.roofline is not None
    assert one.roofline.disk == pytest.approx(0.2)
    assert one.roofline.memory == pytest.approx((2 * 70 + 50) / 1000)
    assert one.roofline.limit == "disk"
    assert one.distance == pytest.approx(0.3 / 0.2)
    assert one.hits == {"words": 0.0, "packed": 0.75, "absent": 0.25}


def test_who_does_not_count_uses_multiplies_with_bf16() -> None:
    one = result([0.2], contestant=LLAMACPP)
    assert one.roofline is not None
    assert one.roofline.memory == pytest.approx((2 * 100 + 50) / 1000)
    assert one.hits is None


def test_the_ladder_has_a_row_a_mechanism() -> None:
    rows = list(ladder([result([0.2], contestant=RAW), result([0.1])]))
    assert len(rows) == 9
    assert rows[1].startswith("raw BF16 slots, LRU")
    assert "200.0" in rows[1]
    assert "100.0" in rows[-1]
