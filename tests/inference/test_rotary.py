"""Rotary: what short and long sequences turn by is transformers', whatever they are beside and in whatever pieces."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.phimoe import configuration_phimoe, modeling_phimoe

from tests.inference.family import same_bits
from zipmoe.errors import InvalidRequest
from zipmoe.inference.model.families.phimoe import rotary
from zipmoe.inference.model.rotary import Longer, Rotary, Turns, frequencies, longrope
from zipmoe.inference.model.span import Group, Span

# Typed in part only.
theirs: Any = modeling_phimoe
make: Any = configuration_phimoe.PhimoeConfig

WIDTH, BORDER = 16, 40
TOLD = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": BORDER,
    "short_factor": [1 + 0.1 * pair for pair in range(WIDTH // 2)],
    "long_factor": [1.0 + pair for pair in range(WIDTH // 2)],
    "short_mscale": 1.1,
    "long_mscale": 1.7,
}
SIZES = {"hidden_size": 4 * WIDTH, "num_attention_heads": 4, "max_position_embeddings": 128}


def config(**told: Any) -> dict[str, Any]:
    return {**SIZES, "rope_parameters": {**TOLD, **told}}


def turned(rotary: Rotary, *spans: Span) -> Turns:
    group = Group.of(spans)
    return rotary.at(group.positions, group.lengths)


def span(start: int, end: int, whole: int) -> Span:
    return Span(np.zeros(end - start, np.int64), start, np.zeros(8, np.int32), whole=whole)


def same(ours: Turns, expected: Turns) -> bool:
    return same_bits(ours.cosines, expected.cosines) and same_bits(ours.sines, expected.sines)


# Prompts on both sides of the border, then tokens one by one, the first of them on it and past it.
@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (0, BORDER), (0, BORDER + 1), (0, 100), (BORDER - 1, BORDER), (BORDER, BORDER + 1)]
)
def test_longrope(start: int, end: int) -> None:
    module = theirs.PhimoeRotaryEmbedding(make(**config()))
    expected = module(torch.empty(0, dtype=torch.bfloat16), torch.arange(start, end)[None])
    ours = turned(rotary(config()), span(start, end, whole=end))
    assert all(same_bits(mine, its[0]) for mine, its in zip((ours.cosines, ours.sines), expected, strict=True))


@pytest.mark.parametrize("whole", [BORDER, BORDER + 1, 100])
def test_pieces_of_a_prompt_turn_as_the_whole_does(whole: int) -> None:
    made, borders = rotary(config()), [0, 16, 39, whole]
    pieces = [turned(made, span(start, end, whole)) for start, end in pairwise(borders)]
    together = turned(made, span(0, whole, whole))
    assert same_bits(torch.cat([piece.cosines for piece in pieces]), together.cosines)
    assert same_bits(torch.cat([piece.sines for piece in pieces]), together.sines)


def test_a_text_computed_anew_turns_as_when_it_was_written() -> None:
    made, prompt, end = rotary(config()), BORDER - 3, BORDER + 4
    first = [span(0, prompt, prompt), *(span(place, place + 1, prompt) for place in range(prompt, end))]
    assert same(turned(made, span(0, end, prompt)), turned(made, *first))


def test_each_turns_by_its_own_length() -> None:
    """Here by other frequencies, too."""
    short, long = Rotary(frequencies(WIDTH, 1e4)), Rotary(longrope(WIDTH, 1e4, [3.0] * (WIDTH // 2)), 1.5)
    made = Rotary(frequencies(WIDTH, 1e4), longer=Longer(BORDER, long))
    mates = [(span(0, 50, 50), long), (span(7, 8, 8), short), (span(0, 20, 20), short), (span(0, 20, 60), long)]
    ours = turned(made, *(mate for mate, _ in mates))
    each = [turned(alone, mate) for mate, alone in mates]
    assert same_bits(ours.cosines, torch.cat([turns.cosines for turns in each]))
    assert same_bits(ours.sines, torch.cat([turns.sines for turns in each]))


def test_the_border_is_where_the_checkpoint_says() -> None:
    def border(config: dict[str, Any]) -> int | None:
        longer = rotary(config).longer
        return longer.border if longer else None

    assert border(config()) == BORDER
    assert border({**config(), "original_max_position_embeddings": 50}) == 50
    assert border(config(original_max_position_embeddings=None)) == SIZES["max_position_embeddings"]
    assert border(config(long_mscale=TOLD["short_mscale"])) is None
    assert border(SIZES) is None


@pytest.mark.parametrize(
    ("told", "says"),
    [({"rope_type": "yarn"}, "'yarn' are not supported for PhiMoE"), ({"short_factor": [1.0]}, "8 pairs")],
)
def test_what_is_computed_otherwise_is_refused(told: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        rotary(config(**told))
