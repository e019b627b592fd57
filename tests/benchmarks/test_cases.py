"""Cases: all of them, side by side or together with whom they belong; the same tokens for all; layers that the disk
holds."""

from itertools import pairwise
from pathlib import Path

from benchmarks.peers.ablation import OURS, RAW, STEPS
from benchmarks.peers.case import ACCELERATE, LIMITED, LIMITS, LLAMACPP, Case, cases
from benchmarks.peers.model import Model, most_layers
from benchmarks.peers.streams import streams

from zipmoe.synth.preset import preset


def test_every_contestant_meets_every_limit() -> None:
    found = {(case.contestant, case.limit) for case in cases("model", ladder=True)}
    for contestant in (OURS, LLAMACPP, ACCELERATE):
        assert {(contestant, limit) for limit in LIMITS} <= found
    for step in STEPS:
        assert {(step, limit) for limit in LIMITED} <= found
    assert {case.contestant for case in cases("model", ladder=False)} == {OURS, RAW, LLAMACPP, ACCELERATE}


def test_no_more_than_two_forms_lie_on_the_disk() -> None:
    """From the first that needs a form to the last that does, it lies there; and whoever is compared most is side by
    side."""
    model = Model("olmoe-1b-7b", 2, Path("work"))
    all_ = cases(model.name, ladder=True)
    needed = [model.weights(case.contestant) for case in all_]
    spans = [(needed.index(path), len(needed) - needed[::-1].index(path)) for path in set(needed)]
    assert max(sum(first <= place < end for first, end in spans) for place in range(len(needed))) == 2
    for ours, other in zip(all_[:8:2], all_[1:8:2], strict=True):
        assert (ours.contestant, other.contestant, ours.limit) == (OURS, LLAMACPP, other.limit)


def test_a_limit_is_a_share_of_the_checkpoint() -> None:
    assert Case("model", OURS, "40").bytes(1000) == 400
    assert Case("model", OURS, "none").bytes(1000) is None


def test_each_step_of_the_ladder_changes_one_thing() -> None:
    steps = list(STEPS.values())
    for one, other in pairwise(steps):
        names = one.__dataclass_fields__
        assert sum(getattr(one, name) != getattr(other, name) for name in names) == 1


def test_streams_are_the_same_for_all_and_differ_from_one_another() -> None:
    first = streams(1000, "decode", 4, 64)
    assert first == streams(1000, "decode", 4, 64)
    assert len({tuple(stream[:16]) for stream in (*first, *streams(1000, "ttft 0", 4, 64))}) == 8
    assert all(0 <= token < 1000 for stream in first for token in stream)


def test_as_many_layers_as_three_copies_have_room_for() -> None:
    like = "qwen1.5-moe"
    size = Model(like, 5, Path()).size
    assert most_layers(like, 3 * size + 100, spare=100) == 5
    assert most_layers(like, 3 * size + 99, spare=100) == 4
    assert most_layers(like, 1 << 50, spare=0) == preset(like).config["num_hidden_layers"]
    assert most_layers(like, 1 << 20, spare=0) == 0
