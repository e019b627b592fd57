"""Routing: our forward is transformers', and what it shows is near what was published."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from zipmoe.errors import InvalidRequest
from zipmoe.synth.forward import Routing, route
from zipmoe.synth.measure import Measurement, measure
from zipmoe.synth.preset import preset
from zipmoe.synth.published import published
from zipmoe.synth.statistics import distance, measured, share_of
from zipmoe.synth.weights import Weights
from zipmoe.synth.writer import write


def silent(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def measurement(tiny: Path) -> Measurement:
    return measure(tiny, 96, 48, silent)


def test_static_popularity(measurement: Measurement) -> None:
    found, target = measurement.routing.static, measurement.target.static
    assert distance(found, target) < 0.08
    assert share_of(0.25, found) == pytest.approx(share_of(0.25, target), abs=0.06)


def test_popularity_within_a_request(measurement: Measurement) -> None:
    found, target = measurement.routing.per_request, measurement.target.per_request
    assert distance(found, target) < 0.08
    assert share_of(0.25, found) == pytest.approx(share_of(0.25, target), abs=0.06)


def test_neighbours_share_experts(measurement: Measurement) -> None:
    assert measurement.routing.adjacent == pytest.approx(measurement.target.adjacent, abs=0.1)


def test_the_stream_stays_in_range(measurement: Measurement) -> None:
    assert min(measurement.rms) > 0.1
    assert max(measurement.rms) < 100
    assert 2.5 <= measurement.entropy <= 2.65


def test_the_forward_is_transformers(tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    tokens = np.random.default_rng(3).integers(0, 1024, (2, 40))
    weights = Weights(preset("tiny"), 0)
    ours = route(weights.config, weights.words, tokens, silent).experts
    with torch.inference_mode():
        logits = model(torch.from_numpy(tokens), output_router_logits=True).router_logits
    for mine, theirs in zip(ours, logits, strict=True):
        chosen = theirs.topk(mine.shape[-1], dim=-1).indices.numpy().reshape(mine.shape)
        assert np.array_equal(np.sort(mine), np.sort(chosen))


def test_statistics_of_known_routings() -> None:
    apart = np.array([[[[0, 1], [2, 3]] * 4]])  # one layer, one request, neighbours share nothing
    found = measured(Routing(apart, apart[1:], (1.0,)), experts=8, window=4)
    assert found.adjacent == 0
    assert found.forecast is None
    assert found.chance == 0.25
    assert found.static.tolist() == found.per_request.tolist() == [0.25] * 4 + [0] * 4
    alike = np.zeros((2, 1, 8, 1), int)
    found = measured(Routing(alike, alike[1:], (1.0, 1.0)), experts=8, window=4)
    assert found.adjacent == found.forecast == found.static[0] == 1


@pytest.mark.parametrize("experts", [16, 32, 64, 100])
def test_published_shares_keep_their_curve(experts: int) -> None:
    own, other = published("DeepSeek-V2-Lite", 64, 6), published("DeepSeek-V2-Lite", experts, max(experts // 8, 1))
    assert other.static.sum() == pytest.approx(1)
    assert share_of(0.25, other.static) == pytest.approx(share_of(0.25, own.static), abs=0.01)
    assert (np.diff(other.static) <= 1e-9).all()
    assert own.window == 19


def test_other_families_and_short_requests_are_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="tokens"):
        measure(tiny, 4, 5, silent)
    write(preset("tiny").with_layers(1), 0, tmp_path / "other", silent)
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace('"olmoe"', '"qwen2_moe"'))
    with pytest.raises(InvalidRequest, match="only olmoe"):
        measure(tmp_path / "other", 4, 40, silent)
