#include "matrix.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "bf16.h"
#include "dots.h"
#include "dots4.h"
#include "thread_pool.h"

namespace zipmoe {
namespace {

// Rows that are multiplied before their sums are rounded and stored: their sums stay in the nearest cache.
constexpr size_t kTile = 64;

using Activations = std::vector<float>;

// Where column k lies in its row of activations.
size_t place(const uint8_t* lanes, size_t k) { return k / 32 * 32 + lanes[k % 32]; }

Activations activations(size_t tokens, size_t columns) { return Activations(tokens * whole_groups(columns)); }

Activations widened(Matrix x) {
    Activations wide = activations(x.rows, x.columns);
    const uint8_t* const order = lanes();
    for (size_t t = 0; t < x.rows; ++t)
        for (size_t k = 0; k < x.columns; ++k)
            wide[t * whole_groups(x.columns) + place(order, k)] = widen(x.words[t * x.columns + k]);
    return wide;
}

// Call act(first row, number of rows) for tiles of `rows`, on up to `threads` threads. A sum is made by one thread and
// in one order, so the bits do not depend on how many there are.
template <typename Act>
void for_tiles(size_t rows, size_t threads, Act&& act) {
    ThreadPool::instance().run((rows + kTile - 1) / kTile, threads, [&](size_t tile) {
        act(tile * kTile, std::min(kTile, rows - tile * kTile));
    });
}

// The dots of `rows` rows of a weight from `row` on, kTile apart.
void tile(const Matrix& weight, size_t row, size_t rows, const Activations& x, size_t tokens, float* sums) {
    dots(weight.words + row * weight.columns, rows, weight.columns, x.data(), tokens, sums, kTile);
}

void tile(const Matrix4& weight, size_t row, size_t rows, const Activations& x, size_t tokens, float* sums) {
    dots4(weight.run, weight.first + row * weight.columns, rows, weight.columns, x.data(), tokens, sums, kTile);
}

template <typename Weight>
void multiply(const Activations& x, size_t tokens, const Weight& weight, uint16_t* out, size_t threads) {
    for_tiles(weight.rows, threads, [&](size_t row, size_t rows) {
        thread_local std::vector<float> sums;
        sums.resize(tokens * kTile);
        tile(weight, row, rows, x, tokens, sums.data());
        for (size_t t = 0; t < tokens; ++t)
            for (size_t r = 0; r < rows; ++r) out[t * weight.rows + row + r] = narrow(sums[t * kTile + r]);
    });
}

float silu(float x) { return x / (1.0f + std::exp(-x)); }

template <typename Weight>
void feed_forward(Matrix x, const Weight& gate_up, const Weight& down, uint16_t* out, size_t threads) {
    const size_t tokens = x.rows, inner = down.columns;
    const Activations wide = widened(x);
    Activations gated = activations(tokens, inner);
    const uint8_t* const order = lanes();
    for_tiles(inner, threads, [&](size_t row, size_t rows) {
        thread_local std::vector<float> gates, ups;
        gates.resize(tokens * kTile);
        ups.resize(tokens * kTile);
        tile(gate_up, row, rows, wide, tokens, gates.data());
        tile(gate_up, inner + row, rows, wide, tokens, ups.data());
        for (size_t t = 0; t < tokens; ++t) {
            for (size_t r = 0; r < rows; ++r) {
                const float act = rounded(silu(rounded(gates[t * kTile + r])));
                gated[t * whole_groups(inner) + place(order, row + r)] = rounded(act * rounded(ups[t * kTile + r]));
            }
        }
    });
    multiply(gated, tokens, down, out, threads);
}

}  // namespace

void unpack(const Matrix4& weight, size_t row, size_t rows, uint16_t* words, size_t threads) {
    for_tiles(rows, threads, [&](size_t first, size_t count) {
        const size_t k = weight.columns;
        unpack4(weight.run, weight.first + (row + first) * k, count * k, words + first * k);
    });
}

void linear(Matrix x, const Matrix& weight, uint16_t* out, size_t threads) {
    multiply(widened(x), x.rows, weight, out, threads);
}

void linear(Matrix x, const Matrix4& weight, uint16_t* out, size_t threads) {
    multiply(widened(x), x.rows, weight, out, threads);
}

void expert(Matrix x, const Matrix& gate_up, const Matrix& down, uint16_t* out, size_t threads) {
    feed_forward(x, gate_up, down, out, threads);
}

void expert(Matrix x, const Matrix4& gate_up, const Matrix4& down, uint16_t* out, size_t threads) {
    feed_forward(x, gate_up, down, out, threads);
}

}  // namespace zipmoe
