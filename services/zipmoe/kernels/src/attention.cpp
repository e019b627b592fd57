#include <algorithm>
#include <cmath>
#include <vector>

#include "activations.h"
#include "bf16.h"
#include "targets.h"
#include "thread_pool.h"

namespace zipmoe {
namespace {

constexpr size_t kLanes = 16;
// Products for which another thread is worth waking.
constexpr size_t kWorthSharing = 1 << 13;

// scores[s] = query times the key of position s, keys `stride` words apart, in FP32.
ZIPMOE_CLONES
void products(const float* query, size_t width, const uint16_t* keys, size_t stride, size_t positions, float* scores) {
    for (size_t s = 0; s < positions; ++s, keys += stride) {
        float lanes[kLanes] = {};
        size_t i = 0;
        for (; i + kLanes <= width; i += kLanes)
            for (size_t l = 0; l < kLanes; ++l) lanes[l] += query[i + l] * widen(keys[i + l]);
        for (; i < width; ++i) lanes[i % kLanes] += query[i] * widen(keys[i]);
        for (size_t half = kLanes / 2; half > 0; half /= 2)
            for (size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
        scores[s] = lanes[0];
    }
}

// out[i] += sum over s of shares[s] * values[s][i], values `stride` words apart.
ZIPMOE_CLONES
void mix(const float* shares, size_t positions, const uint16_t* values, size_t stride, size_t width, float* out) {
    for (size_t s = 0; s < positions; ++s, values += stride)
        for (size_t i = 0; i < width; ++i) out[i] += shares[s] * widen(values[i]);
}

// The pages of a sequence's first `positions` tokens: act(first token of the page, tokens there, the page's first row).
template <typename Act>
void each_page(const Cache& cache, size_t positions, Act act) {
    for (size_t from = 0; from < positions; from += cache.page)
        act(from, std::min(cache.page, positions - from),
            static_cast<size_t>(cache.pages[from / cache.page]) * cache.page);
}

// One head of one token.
void attend_head(const uint16_t* query, const Cache& cache, size_t head, size_t positions, float scale, uint16_t* out) {
    const size_t width = cache.width, value_width = cache.value_width;
    thread_local std::vector<float> wide, sums, scores;
    wide.resize(width);
    sums.assign(value_width, 0.0f);
    scores.resize(positions);
    for (size_t i = 0; i < width; ++i) wide[i] = widen(query[i]);
    const size_t stride = cache.heads * width, value_stride = cache.values ? cache.heads * value_width : stride;
    const uint16_t* const keys = cache.keys + head * width;
    const uint16_t* const values = cache.values ? cache.values + head * value_width : keys;
    each_page(cache, positions, [&](size_t from, size_t tokens, size_t row) {
        products(wide.data(), width, keys + row * stride, stride, tokens, scores.data() + from);
    });
    float most = -INFINITY, sum = 0;
    for (float& score : scores) most = std::max(most, score = rounded(rounded(score) * scale));
    for (float& score : scores) sum += score = std::exp(score - most);
    for (float& score : scores) score = rounded(score / sum);
    each_page(cache, positions, [&](size_t from, size_t tokens, size_t row) {
        mix(scores.data() + from, tokens, values + row * value_stride, value_stride, value_width, sums.data());
    });
    for (size_t i = 0; i < value_width; ++i) out[i] = narrow(sums[i]);
}

}  // namespace

void store(const Cache& cache, size_t start, size_t rows, const uint16_t* key, const uint16_t* value) {
    const size_t stride = cache.heads * cache.width, value_stride = cache.values ? cache.heads * cache.value_width : 0;
    for (size_t at = start; at < start + rows; ++at, key += stride, value += value_stride) {
        const size_t row = static_cast<size_t>(cache.pages[at / cache.page]) * cache.page + at % cache.page;
        std::copy(key, key + stride, cache.keys + row * stride);
        std::copy(value, value + value_stride, cache.values + row * value_stride);
    }
}

void attend(const uint16_t* query, size_t rows, size_t heads, const Cache& cache, size_t start, float scale,
            uint16_t* out, size_t threads) {
    const size_t shared = heads / cache.heads;
    const bool worth = rows * heads * (start + rows) * cache.width >= kWorthSharing;
    ThreadPool::instance().run(rows * heads, worth ? threads : 1, [&](size_t at, size_t last) {
        for (; at < last; ++at)
            attend_head(query + at * cache.width, cache, at % heads / shared, start + at / heads + 1, scale,
                        out + at * cache.value_width);
    });
}

}  // namespace zipmoe
