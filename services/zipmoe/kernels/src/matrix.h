#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "packed.h"

namespace zipmoe {

// `rows` rows of `columns` BF16 words, one after the other.
struct Matrix {
    const uint16_t* words;
    size_t rows;
    size_t columns;
};

// Rows of a matrix: all of them, or those that are named.
struct Selection {
    Matrix all;
    size_t rows;
    const size_t* named;

    Selection(Matrix all) : all(all), rows(all.rows), named(nullptr) {}
    Selection(Matrix all, const size_t* named, size_t rows) : all(all), rows(rows), named(named) {}
    const uint16_t* row(size_t r) const { return all.words + (named ? named[r] : r) * all.columns; }
};

// `rows` rows of `columns` packed weights, from weight `first` of a run on.
struct PackedMatrix {
    Run run;
    size_t first;
    size_t rows;
    size_t columns;
};

// The words of `rows` rows from `row` on.
void unpack(const PackedMatrix& weight, size_t row, size_t rows, uint16_t* words, size_t threads);

// out[m, N] = x[m, K] times weight[N, K] transposed.
void linear(Matrix x, const Matrix& weight, uint16_t* out, size_t threads);
void linear(Matrix x, const PackedMatrix& weight, uint16_t* out, size_t threads);

// Several of one x at once: threads are kept waiting once in all.
template <typename Weight>
struct Product {
    Weight weight;
    uint16_t* out;
};
void linears(Matrix x, const std::vector<Product<PackedMatrix>>& products, size_t threads);

// An expert and the tokens it is for: out[m, H] = (silu(x gate) * (x up)) down for x [m, H], gate_up [2I, H] with the
// gate's rows first, down [H, I]. Rounded to BF16 after gate, up, silu, their product and down, as transformers does.
template <typename Weight>
struct Expert {
    Selection x;
    Weight gate_up;
    Weight down;
    uint16_t* out;
};

// Several at once: threads are kept waiting twice in all, not twice an expert.
void feed_forward(const std::vector<Expert<Matrix>>& experts, size_t threads);
void feed_forward(const std::vector<Expert<PackedMatrix>>& experts, size_t threads);

}  // namespace zipmoe
