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

// out[i] = sum over s of shares[s] * values[s][i], values `stride` words apart.
ZIPMOE_CLONES
void mix(const float* shares, size_t positions, const uint16_t* values, size_t stride, size_t width, float* out) {
    std::fill(out, out + width, 0.0f);
    for (size_t s = 0; s < positions; ++s, values += stride)
        for (size_t i = 0; i < width; ++i) out[i] += shares[s] * widen(values[i]);
}

// One head of one token.
void attend_head(const uint16_t* query, const uint16_t* keys, const uint16_t* values, size_t stride, size_t positions,
                 size_t width, float scale, uint16_t* out) {
    thread_local std::vector<float> wide, scores;
    wide.resize(2 * width);
    scores.resize(positions);
    float* const sums = wide.data() + width;
    for (size_t i = 0; i < width; ++i) wide[i] = widen(query[i]);
    products(wide.data(), width, keys, stride, positions, scores.data());
    float most = -INFINITY, sum = 0;
    for (float& score : scores) most = std::max(most, score = rounded(rounded(score) * scale));
    for (float& score : scores) sum += score = std::exp(score - most);
    for (float& score : scores) score = rounded(score / sum);
    mix(scores.data(), positions, values, stride, width, sums);
    for (size_t i = 0; i < width; ++i) out[i] = narrow(sums[i]);
}

}  // namespace

void attend(const uint16_t* query, size_t rows, size_t heads, const Seen& seen, float scale, uint16_t* out,
            size_t threads) {
    const size_t width = seen.width, stride = seen.heads * width, shared = heads / seen.heads;
    const bool worth = rows * heads * seen.positions * width >= kWorthSharing;
    ThreadPool::instance().run(rows * heads, worth ? threads : 1, [&](size_t at, size_t last) {
        for (; at < last; ++at) {
            const size_t row = at / heads, head = at % heads, from = head / shared * width;
            attend_head(query + at * width, seen.keys + from, seen.values + from, stride,
                        seen.positions - rows + row + 1, width, scale, out + at * width);
        }
    });
}

}  // namespace zipmoe
