"""Weights: packed or not, the same numbers come out."""

import mmap

import pytest
import torch
from torch import Tensor

from zipmoe.inference.model.fast import Fast, tensor, words
from zipmoe.inference.model.reference import Reference
from zipmoe.inference.model.weight import PackedExpert, PlainExpert, rows, unpacked
from zipmoe.kernels import Packed, most_bytes, pack, split

HIDDEN, INNER = 256, 128


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(torch.bfloat16)


def packed(matrix: Tensor) -> Packed:
    words = matrix.contiguous().view(torch.uint8).numpy().tobytes()
    weights = matrix.numel()
    exponents, sign_mantissas = bytearray(weights), bytearray(weights)
    split(words, exponents, sign_mantissas)
    part = mmap.mmap(-1, most_bytes(3, weights))
    assert pack(3, exponents, part) is not None
    return Packed(sign_mantissas, part, 0, *matrix.shape)


def test_unpacked_is_the_matrix() -> None:
    matrix = noise(300, HIDDEN)
    assert unpacked(matrix, 1) is matrix
    assert torch.equal(unpacked(packed(matrix), 2), matrix)


def test_rows_are_an_embedding() -> None:
    matrix, numbers = noise(500, HIDDEN), torch.tensor([3, 499, 0, 3])
    found = torch.from_numpy(rows(packed(matrix), numbers.numpy())).view(torch.bfloat16)
    assert torch.equal(found, matrix[numbers])


@pytest.mark.parametrize("tokens", [1, 3, 16, 17, 50])
def test_the_form_of_an_expert_does_not_show(tokens: int) -> None:
    gate_up, down, x = noise(2 * INNER, HIDDEN) / 16, noise(HIDDEN, INNER) / 16, noise(tokens, HIDDEN)
    plain, small = PlainExpert(gate_up, down), PackedExpert(packed(gate_up), packed(down))
    reference, fast = Reference(2), Fast(2)
    assert torch.equal(reference.expert(x, small), reference.expert(x, plain))
    assert torch.equal(reference.linear(x, small.gate_up), reference.linear(x, gate_up))
    assert (fast.experts([(words(x), small)])[0] == fast.experts([(words(x), plain)])[0]).all()
    assert (fast.linear(words(x), small.gate_up) == fast.linear(words(x), words(gate_up))).all()
    # Our kernels may sum in another order.
    (ours,) = fast.experts([(words(x), small)])
    torch.testing.assert_close(tensor(ours), reference.expert(x, plain), rtol=0.02, atol=0.02)
