#include "dots.h"

#include <cstring>

#include "targets.h"

namespace zipmoe {
namespace {

typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef float Floats __attribute__((vector_size(4 * kLanes)));

// kRows x kTokens sums at once: each weight is loaded and widened once for all tokens, each x once for all rows.
template <size_t kRows, size_t kTokens>
ZIPMOE_INLINE void block(const uint16_t* weight, size_t columns, const float* x, float* out, size_t stride) {
    const size_t width = whole_pairs(columns);
    Floats sums[kRows][kTokens] = {};
    const auto step = [&](const Words(&words)[kRows], size_t k) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (size_t t = 0; t < kTokens; ++t) {
            Floats even, odd;
            std::memcpy(&even, x + t * width + k, sizeof even);
            std::memcpy(&odd, x + t * width + k + kLanes, sizeof odd);
#pragma GCC unroll 8
            for (size_t r = 0; r < kRows; ++r) {
                sums[r][t] += (Floats)(words[r] << 16) * even;
                sums[r][t] += (Floats)(words[r] & 0xFFFF0000u) * odd;
            }
        }
    };

    size_t k = 0;
    for (; k + kPair <= columns; k += kPair) {
        Words words[kRows];
#pragma GCC unroll 8
        for (size_t r = 0; r < kRows; ++r) std::memcpy(&words[r], weight + r * columns + k, sizeof words[r]);
        step(words, k);
    }
    if (k < columns) {
        Words words[kRows] = {};
        for (size_t r = 0; r < kRows; ++r) std::memcpy(&words[r], weight + r * columns + k, 2 * (columns - k));
        step(words, k);
    }

    for (size_t r = 0; r < kRows; ++r) {
        for (size_t t = 0; t < kTokens; ++t) {
            float lanes[kLanes];
            std::memcpy(lanes, &sums[r][t], sizeof lanes);
            for (size_t half = kLanes / 2; half > 0; half /= 2)
                for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
            out[t * stride + r] = lanes[0];
        }
    }
}

template <size_t kRows>
ZIPMOE_INLINE void band(const uint16_t* weight, size_t columns, const float* x, size_t tokens, float* out,
                        size_t stride) {
    const size_t width = whole_pairs(columns);
    size_t t = 0;
    for (; t + 4 <= tokens; t += 4) block<kRows, 4>(weight, columns, x + t * width, out + t * stride, stride);
    for (; t + 2 <= tokens; t += 2) block<kRows, 2>(weight, columns, x + t * width, out + t * stride, stride);
    for (; t < tokens; ++t) block<kRows, 1>(weight, columns, x + t * width, out + t * stride, stride);
}

}  // namespace

ZIPMOE_CLONES
void dots(const uint16_t* weight, size_t rows, size_t columns, const float* x, size_t tokens, float* out,
          size_t stride) {
    size_t r = 0;
    for (; r + 4 <= rows; r += 4) band<4>(weight + r * columns, columns, x, tokens, out + r, stride);
    for (; r < rows; ++r) band<1>(weight + r * columns, columns, x, tokens, out + r, stride);
}

}  // namespace zipmoe
