#pragma once

#include <cstring>

#include "level.h"

namespace zipmoe {

// The sums of a few rows times a few tokens. The order of additions is written here once, for every form of weights:
// so the bits of a product depend neither on the form nor on the shape of the block.
template <typename Level, size_t kRows, size_t kTokens>
using Sums = typename Level::Floats[kRows][kTokens];

// Add a group of weights of each row, times the tokens. Activations are loaded once for all rows.
template <typename Level, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void add(Sums<Level, kRows, kTokens>& sums, const typename Level::Group (&groups)[kRows], const float* x,
                       size_t width) {
    using Floats = typename Level::Floats;
    using Pairs = typename Level::Pairs;
    repeat<Level::kCount>([&](auto i) ZIPMOE_INLINED {
        repeat<kTokens>([&](auto t) ZIPMOE_INLINED {
            Floats even, odd;
            std::memcpy(&even, x + t * width + 2 * i * Level::kLanes, sizeof even);
            std::memcpy(&odd, x + t * width + (2 * i + 1) * Level::kLanes, sizeof odd);
            repeat<kRows>([&](auto r) ZIPMOE_INLINED {
                const auto words = (Pairs)groups[r][i];
                sums[r][t] += (Floats)(words << 16) * even;
                sums[r][t] += (Floats)(words & 0xFFFF0000u) * odd;
            });
        });
    });
}

template <typename Level, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void store(const Sums<Level, kRows, kTokens>& sums, float* out, size_t stride) {
    repeat<kRows>([&](auto r) ZIPMOE_INLINED {
        repeat<kTokens>([&](auto t) ZIPMOE_INLINED {
            const typename Level::Floats sum = sums[r][t];
            float lanes[Level::kLanes];
            std::memcpy(lanes, &sum, sizeof lanes);
            for (size_t half = Level::kLanes / 2; half > 0; half /= 2)
                for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
            out[t * stride + r] = lanes[0];
        });
    });
}

// Weights stream: what a core reads next is asked for early, because a row is too short for the hardware to learn its
// stream. Into the second cache: in the first it would push out the activations before it is used.
ZIPMOE_INLINE void prefetch(const void* at) { __builtin_prefetch(at, 0, 2); }

// Call act.template operator()<kRows, kTokens>(row, token) so that every row meets every token once.
template <size_t kMost, typename Act>
ZIPMOE_INLINE void for_blocks(size_t rows, size_t tokens, Act&& act) {
    size_t t = 0;
    const auto bands = [&]<size_t kTokens>() ZIPMOE_INLINED {
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
