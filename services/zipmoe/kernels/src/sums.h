#pragma once

#include <cstring>

#include "dots.h"
#include "targets.h"

namespace zipmoe {

typedef uint32_t Pairs __attribute__((vector_size(4 * kLanes)));
typedef float Floats __attribute__((vector_size(4 * kLanes)));

// The sums of a few rows times a few tokens. The order of additions is written here once, for every form of weights:
// so the bits of a product depend neither on the form nor on the shape of the block.
template <size_t kRows, size_t kTokens>
using Sums = Floats[kRows][kTokens];

// Add kPair weights of each row, from column k on, times the tokens.
template <size_t kRows, size_t kTokens>
ZIPMOE_INLINE void add(Sums<kRows, kTokens>& sums, const Pairs (&words)[kRows], const float* x, size_t width) {
#pragma GCC unroll 8
    for (size_t t = 0; t < kTokens; ++t) {
        Floats even, odd;
        std::memcpy(&even, x + t * width, sizeof even);
        std::memcpy(&odd, x + t * width + kLanes, sizeof odd);
#pragma GCC unroll 8
        for (size_t r = 0; r < kRows; ++r) {
            sums[r][t] += (Floats)(words[r] << 16) * even;
            sums[r][t] += (Floats)(words[r] & 0xFFFF0000u) * odd;
        }
    }
}

template <size_t kRows, size_t kTokens>
ZIPMOE_INLINE void store(const Sums<kRows, kTokens>& sums, float* out, size_t stride) {
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

// Weights stream: what a core reads next is asked for early, because a row is too short for the hardware to learn its
// stream. Into the second cache: in the first it would push out the activations before it is used.
ZIPMOE_INLINE void prefetch(const void* at) { __builtin_prefetch(at, 0, 2); }

// Registers decide how many sums of 64 bytes live at once: 16 with AVX-512, 4 in halves or quarters elsewhere.
constexpr size_t kManySums = 16;
constexpr size_t kFewSums = 4;

// Call act.template operator()<kRows, kTokens>(row, token) so that every row meets every token once.
template <size_t kMost, typename Act>
ZIPMOE_INLINE void for_blocks(size_t rows, size_t tokens, Act&& act) {
    size_t t = 0;
    const auto bands = [&]<size_t kTokens>() __attribute__((always_inline)) {
        constexpr size_t kRows = kMost / kTokens > 4 ? 4 : (kMost / kTokens ? kMost / kTokens : 1);
        for (; t + kTokens <= tokens; t += kTokens) {
            size_t r = 0;
            for (; r + kRows <= rows; r += kRows) act.template operator()<kRows, kTokens>(r, t);
            if constexpr (kRows > 1)
                for (; r < rows; ++r) act.template operator()<1, kTokens>(r, t);
        }
    };
    bands.template operator()<4>();
    if constexpr (kMost >= 16) bands.template operator()<3>();
    bands.template operator()<2>();
    bands.template operator()<1>();
}

}  // namespace zipmoe
