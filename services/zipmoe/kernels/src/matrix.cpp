#include "matrix.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "activations.h"
#include "dots.h"
#include "dots_packed.h"
#include "operand.h"
#include "thread_pool.h"

namespace zipmoe {
namespace {

// Rows that are multiplied before their sums are rounded and stored. Fewer are slower, for each tile begins somewhere else
// in memory; with more, the sums of a prompt's tokens crowd the second cache.
constexpr size_t kTile = 128;

// Rows that one thread takes at least: few, so that none waits long for the last.
constexpr size_t kShare = 16;

// Rows of activations for which another thread is worth waking.
constexpr size_t kWorthSharing = 32;

std::vector<Operand> operands(const std::vector<Selection>& each, size_t threads) {
    std::vector<Operand> made;
    std::vector<size_t> ends;
    for (const Selection& x : each) {
        made.emplace_back(x.rows, x.all.columns);
        ends.push_back((ends.empty() ? 0 : ends.back()) + x.rows);
    }
    const size_t rows = ends.back();
    ThreadPool::instance().run(rows, rows < kWorthSharing ? 1 : threads, [&](size_t at, size_t last) {
        auto of = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), at) - ends.begin());
        for (; at < last; ++at) {
            while (at == ends[of]) ++of;
            const size_t row = at - (of ? ends[of - 1] : 0);
            made[of].put(row, 0, each[of].row(row), each[of].all.columns);
        }
    });
    return made;
}

// Call act(part, first row, number of rows <= kTile) for all rows of parts that have so many, on up to `threads` threads.
// A sum is made by one thread and in one order, so the bits do not depend on how many there are.
template <typename Act>
void for_tiles(const std::vector<size_t>& rows, size_t threads, Act&& act) {
    std::vector<size_t> ends;  // of the parts, in shares
    for (const size_t count : rows) ends.push_back((ends.empty() ? 0 : ends.back()) + (count + kShare - 1) / kShare);
    ThreadPool::instance().run(ends.back(), threads, [&](size_t at, size_t last) {
        auto part = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), at) - ends.begin());
        for (; at < last; ++part) {
            size_t row = (at - (part ? ends[part - 1] : 0)) * kShare;
            const size_t end = std::min(rows[part], row + (last - at) * kShare);
            for (; row < end; row += kTile) act(part, row, std::min(kTile, end - row));
            at = ends[part];
        }
    });
}

// Tokens that a tile is multiplied with at a time: their activations stay in the second cache.
constexpr size_t kBatch = 96;

void dots_of(const Matrix& weight, size_t row, size_t rows, const void* x, size_t tokens, float* sums) {
    dots(weight.words + row * weight.columns, rows, weight.columns, x, tokens, sums, kTile);
}

void dots_of(const PackedMatrix& weight, size_t row, size_t rows, const void* x, size_t tokens, float* sums) {
    dots_packed(weight.run, weight.first + row * weight.columns, rows, weight.columns, x, tokens, sums, kTile);
}

// The dots of `rows` rows of a weight from `row` on, kTile apart.
template <typename Weight>
void tile(const Weight& weight, size_t row, size_t rows, const Operand& x, size_t tokens, float* sums) {
    for (size_t t = 0; t < tokens; t += kBatch)
        dots_of(weight, row, rows, x.from(t), std::min(kBatch, tokens - t), sums + t * kTile);
}

template <typename Weight>
void multiply_tile(const Operand& x, size_t tokens, const Weight& weight, size_t row, size_t rows, uint16_t* out) {
    thread_local std::vector<float> sums;
    sums.resize(tokens * kTile);
    tile(weight, row, rows, x, tokens, sums.data());
    for (size_t t = 0; t < tokens; ++t)
        narrow(&sums[t * kTile], rows, out + t * weight.rows + row);
}

template <typename Weight>
void multiply(Matrix x, const std::vector<Product<Weight>>& products, size_t threads) {
    if (products.empty()) return;
    const Operand taken = std::move(operands({x}, threads).front());
    std::vector<size_t> each;
    for (const auto& product : products) each.push_back(product.weight.rows);
    for_tiles(each, threads, [&](size_t p, size_t row, size_t rows) {
        multiply_tile(taken, x.rows, products[p].weight, row, rows, products[p].out);
    });
}

template <typename Weight>
void gate_tile(const Operand& x, size_t tokens, const Expert<Weight>& expert, size_t row, size_t rows, Operand& gated) {
    thread_local std::vector<float> gates, ups;
    const size_t inner = expert.down.columns;
    uint16_t words[kTile];
    gates.resize(tokens * kTile);
    ups.resize(tokens * kTile);
    tile(expert.gate_up, row, rows, x, tokens, gates.data());
    tile(expert.gate_up, inner + row, rows, x, tokens, ups.data());
    for (size_t t = 0; t < tokens; ++t) {
        gate(&gates[t * kTile], &ups[t * kTile], rows, words);
        gated.put(t, row, words, rows);
    }
}

template <typename Weight>
void feed_forward_all(const std::vector<Expert<Weight>>& experts, size_t threads) {
    if (experts.empty()) return;
    std::vector<Selection> x;
    std::vector<Operand> gated;
    std::vector<size_t> inner, hidden;
    for (const auto& expert : experts) {
        x.push_back(expert.x);
        gated.emplace_back(expert.x.rows, expert.down.columns);
        inner.push_back(expert.down.columns);
        hidden.push_back(expert.down.rows);
    }
    const std::vector<Operand> taken = operands(x, threads);
    for_tiles(inner, threads, [&](size_t e, size_t row, size_t rows) {
        gate_tile(taken[e], experts[e].x.rows, experts[e], row, rows, gated[e]);
    });
    for_tiles(hidden, threads, [&](size_t e, size_t row, size_t rows) {
        multiply_tile(gated[e], experts[e].x.rows, experts[e].down, row, rows, experts[e].out);
    });
}

}  // namespace

void unpack(const PackedMatrix& weight, size_t row, size_t rows, uint16_t* words, size_t threads) {
    for_tiles({rows}, threads, [&](size_t, size_t first, size_t count) {
        const size_t k = weight.columns;
        zipmoe::unpack(weight.run, weight.first + (row + first) * k, count * k, words + first * k);
    });
}

void linear(Matrix x, const Matrix& weight, uint16_t* out, size_t threads) {
    multiply(x, std::vector{Product<Matrix>{weight, out}}, threads);
}

void linear(Matrix x, const PackedMatrix& weight, uint16_t* out, size_t threads) { linears(x, {{weight, out}}, threads); }

void linears(Matrix x, const std::vector<Product<PackedMatrix>>& products, size_t threads) {
    multiply(x, products, threads);
}

void feed_forward(const std::vector<Expert<Matrix>>& experts, size_t threads) { feed_forward_all(experts, threads); }

void feed_forward(const std::vector<Expert<PackedMatrix>>& experts, size_t threads) { feed_forward_all(experts, threads); }

}  // namespace zipmoe
