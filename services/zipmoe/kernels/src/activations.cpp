#include "activations.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "bf16.h"
#include "exponential.h"
#include "targets.h"

namespace zipmoe {
namespace {

// Sums are made in so many lanes, whatever the machine's registers: the compiler makes of it what it can.
constexpr size_t kSumLanes = 16;

ZIPMOE_CLONES
float sum_of_squares(const uint16_t* x, size_t n) {
    float lanes[kSumLanes] = {};
    size_t i = 0;
    for (; i + kSumLanes <= n; i += kSumLanes)
        for (size_t l = 0; l < kSumLanes; ++l) lanes[l] += widen(x[i + l]) * widen(x[i + l]);
    for (; i < n; ++i) lanes[i % kSumLanes] += widen(x[i]) * widen(x[i]);
    return std::accumulate(lanes, lanes + kSumLanes, 0.0f);
}

}  // namespace

ZIPMOE_CLONES
void narrow(const float* sums, size_t n, uint16_t* out) {
    for (size_t i = 0; i < n; ++i) out[i] = narrow(sums[i]);
}

ZIPMOE_CLONES
void gate(const float* gates, const float* ups, size_t n, uint16_t* out) {
    for (size_t i = 0; i < n; ++i) {
        const float x = rounded(gates[i]);
        out[i] = narrow(rounded(x / (1.0f + exponential(-x))) * rounded(ups[i]));
    }
}

ZIPMOE_CLONES
void norm(const uint16_t* x, size_t rows, size_t width, const uint16_t* weight, float epsilon, uint16_t* out) {
    for (size_t r = 0; r < rows; ++r, x += width, out += width) {
        const float mean = sum_of_squares(x, width) / static_cast<float>(width);
        const float scale = 1.0f / std::sqrt(mean + epsilon);
        for (size_t i = 0; i < width; ++i) out[i] = narrow(widen(weight[i]) * rounded(widen(x[i]) * scale));
    }
}

ZIPMOE_CLONES
void rotate(uint16_t* x, size_t rows, size_t heads, size_t width, const uint16_t* cosines, const uint16_t* sines) {
    const size_t half = width / 2;
    for (size_t r = 0; r < rows; ++r, cosines += width, sines += width) {
        for (size_t h = 0; h < heads; ++h, x += width) {
            for (size_t i = 0; i < half; ++i) {
                const float first = widen(x[i]), second = widen(x[half + i]);
                const float turned = rounded(-second * widen(sines[i]));
                const float other = rounded(first * widen(sines[half + i]));
                x[i] = narrow(rounded(first * widen(cosines[i])) + turned);
                x[half + i] = narrow(rounded(second * widen(cosines[half + i])) + other);
            }
        }
    }
}

ZIPMOE_CLONES
void add(uint16_t* total, const uint16_t* other, size_t n) {
    for (size_t i = 0; i < n; ++i) total[i] = narrow(widen(total[i]) + widen(other[i]));
}

ZIPMOE_CLONES
void add_weighted(uint16_t* total, size_t width, const int64_t* rows, size_t count, const uint16_t* x,
                  const float* share) {
    for (size_t r = 0; r < count; ++r, x += width) {
        uint16_t* const sum = total + static_cast<size_t>(rows[r]) * width;
        for (size_t i = 0; i < width; ++i) sum[i] = narrow(widen(sum[i]) + rounded(widen(x[i]) * share[r]));
    }
}

void route(const uint16_t* logits, size_t rows, size_t experts, size_t k, bool normalise, int64_t* chosen,
           float* shares) {
    std::vector<float> likely(experts);
    std::vector<int64_t> order(experts);
    for (size_t r = 0; r < rows; ++r, logits += experts, chosen += k, shares += k) {
        float most = -INFINITY, sum = 0;
        for (size_t e = 0; e < experts; ++e) most = std::max(most, widen(logits[e]));
        for (size_t e = 0; e < experts; ++e) sum += likely[e] = std::exp(widen(logits[e]) - most);
        for (float& share : likely) share /= sum;
        std::iota(order.begin(), order.end(), 0);
        const auto best = order.begin() + static_cast<long>(k);
        std::partial_sort(order.begin(), best, order.end(), [&](int64_t one, int64_t other) {
            const float a = likely[static_cast<size_t>(one)], b = likely[static_cast<size_t>(other)];
            return a != b ? a > b : one < other;
        });
        std::copy(order.begin(), best, chosen);
        float of = 0;
        for (size_t i = 0; i < k; ++i) of += shares[i] = likely[static_cast<size_t>(chosen[i])];
        for (size_t i = 0; i < k; ++i) shares[i] = rounded(normalise ? shares[i] / of : shares[i]);
    }
}

}  // namespace zipmoe
