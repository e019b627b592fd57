"""The optimizer: Muon for the hidden matrices, Adam for embeddings, head, router and norms.

Muon (Keller Jordan and others, 2024) replaces a matrix' momentum by the nearest orthogonal matrix, found by a few
Newton-Schulz steps; here for all experts' matrices at once, as batched products.
"""

from __future__ import annotations

from concurrent.futures import Executor

import torch
from torch import Tensor

# Coefficients of five quintic steps that bring singular values of 0.001..1 close to 1 (Polar Express, Amsel et al.
# 2025, arXiv 2505.16932).
STEPS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


@torch.no_grad()
def orthogonalize(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrices to a batch [n, rows, columns], in BF16."""
    x: Tensor = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    x = x.to(torch.bfloat16)
    for a, b, c in STEPS:
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x


class Muon:
    """Momentum, orthogonalized: for tensors [..., rows, columns]."""

    def __init__(self, weights: list[Tensor], momentum: float = 0.95) -> None:
        self.weights, self.momentum = [weight.flatten(0, -3) for weight in weights], momentum
        self.buffers = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self, gradients: list[Tensor], rate: float, pool: Executor, chunk: int = 32) -> None:
        """One update, ``chunk`` matrices at a time; ``rate`` is the update's root mean square times sqrt(columns)."""

        def update(weight: Tensor, buffer: Tensor, grad: Tensor) -> None:
            buffer.lerp_(grad, 1 - self.momentum)
            weight.sub_(orthogonalize(torch.lerp(grad, buffer, self.momentum)), alpha=rate)  # Nesterov's momentum

        jobs = []
        for weight, buffer, grad in zip(self.weights, self.buffers, gradients, strict=True):
            pieces = (torch.split(tensor, chunk) for tensor in (weight, buffer, grad.flatten(0, -3)))
            jobs += [pool.submit(update, *piece) for piece in zip(*pieces, strict=True)]
        for job in jobs:
            job.result()


class Adam:
    """Adam with a learning rate of its own for every tensor."""

    def __init__(self, weights: list[Tensor], rates: list[float], betas: tuple[float, float] = (0.9, 0.95)) -> None:
        self.weights, self.rates, self.betas = weights, rates, betas
        self.first = [torch.zeros_like(weight) for weight in weights]
        self.second = [torch.zeros_like(weight) for weight in weights]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: list[Tensor], factor: float) -> None:
        """One update with every rate multiplied by ``factor``."""
        self.steps += 1
        beta1, beta2 = self.betas
        for i, grad in enumerate(gradients):
            self.first[i].lerp_(grad, 1 - beta1)
            self.second[i].lerp_(grad.square(), 1 - beta2)
            mean = self.first[i] / (1 - beta1**self.steps)
            spread = (self.second[i] / (1 - beta2**self.steps)).sqrt_().add_(1e-8)
            self.weights[i].addcdiv_(mean, spread, value=-self.rates[i] * factor)
