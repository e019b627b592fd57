#pragma once

#include <cstddef>
#include <cstdint>

namespace zipmoe {

// `rows` rows of `columns` BF16 words, one after the other.
struct Matrix {
    const uint16_t* words;
    size_t rows;
    size_t columns;
};

// out[m, N] = x[m, K] times weight[N, K] transposed.
void linear(Matrix x, Matrix weight, uint16_t* out, size_t threads);

// out[m, H] = (silu(x gate) * (x up)) down for x [m, H], gate_up [2I, H] with the gate's rows first, down [H, I].
// Rounded to BF16 after gate, up, silu, their product and down, as transformers does in BF16.
void expert(Matrix x, Matrix gate_up, Matrix down, uint16_t* out, size_t threads);

}  // namespace zipmoe
