"""Mixture: a layer's experts applied to a step's tokens, each expert walked to once for all of its tokens."""

import torch
from torch import Tensor

from zipmoe.inference.experts import Experts
from zipmoe.inference.model.arithmetic import Arithmetic


class WalkedMixture:
    """Calls are the model's `Mixture`: (layer, x [T, H], experts [T, k], gate weights [T, k]) -> [T, H]."""

    def __init__(self, experts: Experts, arithmetic: Arithmetic, decoding: bool) -> None:
        self._experts = experts
        self._arithmetic = arithmetic
        self._decoding = decoding

    def __call__(self, layer: int, x: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
        tokens, places = _tokens_by_expert(experts)
        gate = weights.float()
        mass = {expert: float(gate[tokens[expert], places[expert]].sum()) for expert in tokens}
        needed = {expert: mass[expert] for expert in sorted(mass, key=lambda expert: -len(tokens[expert]))}
        outputs = {}
        for expert, expert_weights in self._experts.walk(layer, needed, self._decoding):
            rows = tokens[expert]
            output = self._arithmetic.expert(x[rows], expert_weights)
            outputs[expert] = output * weights[rows, places[expert], None]
        # Experts arrive in any order; the sum is in the order of their numbers, so the bits do not depend on the cache.
        total = torch.zeros_like(x)
        for expert in sorted(outputs):
            if len(x) == 1:
                total += outputs[expert]
            else:
                total.index_add_(0, tokens[expert], outputs[expert])
        return total


def _tokens_by_expert(experts: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """For experts [T, k]: which tokens each expert has, ascending, and which of their k places it takes."""
    flat = experts.flatten()
    order = torch.argsort(flat, stable=True)
    numbers, counts = torch.unique_consecutive(flat[order], return_counts=True)
    groups = order.tensor_split(counts.cumsum(0)[:-1].tolist())
    k = experts.shape[1]
    tokens = {number: group // k for number, group in zip(numbers.tolist(), groups, strict=True)}
    places = {number: group % k for number, group in zip(numbers.tolist(), groups, strict=True)}
    return tokens, places
