#pragma once

#include <cstring>

#include "level.h"

namespace zipmoe {

// The sums of a few rows times a few tokens. The order of additions is written here once, for every form of weights:
// so the bits of a product depend neither on the form nor on the shape of the block.
template <typename Level, size_t kRows, size_t kTokens>
using Sums = typename Level::Floats[kRows][kTokens];

// Add a register of weights of each row, times the tokens, whose activations are `width` floats apart.
template <typename Level, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void add(Sums<Level, kRows, kTokens>& sums, const typename Level::Words (&words)[kRows], const float* x,
                       size_t width) {
    using Floats = typename Level::Floats;
    using Pairs = typename Level::Pairs;
    Floats even[kTokens], odd[kTokens];
    repeat<kTokens>([&](auto t) ZIPMOE_INLINED { std::memcpy(&even[t], x + t * width, sizeof even[t]); });
    repeat<kRows>([&](auto r) ZIPMOE_INLINED {
        const auto weights = (Floats)((Pairs)words[r] << 16);
        repeat<kTokens>([&](auto t) ZIPMOE_INLINED { sums[r][t] += weights * even[t]; });
    });
    repeat<kTokens>([&](auto t) ZIPMOE_INLINED { std::memcpy(&odd[t], x + t * width + Level::kLanes, sizeof odd[t]); });
    repeat<kRows>([&](auto r) ZIPMOE_INLINED {
        const auto weights = (Floats)((Pairs)words[r] & 0xFFFF0000u);
        repeat<kTokens>([&](auto t) ZIPMOE_INLINED { sums[r][t] += weights * odd[t]; });
    });
}

// Add a group of weights of one row.
template <typename Level, size_t kTokens>
ZIPMOE_INLINE void add_group(typename Level::Floats (&sums)[kTokens], const typename Level::Group& group, const float* x,
                             size_t width) {
    repeat<Level::kCount>([&](auto i) ZIPMOE_INLINED {
        const typename Level::Words words[1] = {group[i]};
        add<Level, 1, kTokens>(reinterpret_cast<Sums<Level, 1, kTokens>&>(sums), words, x + i * Level::kWords, width);
    });
}

// The sum of the lanes of a register that is kept at `sums`.
template <typename Level>
ZIPMOE_INLINE float total(const float* sums) {
    float lanes[Level::kLanes];
    std::memcpy(lanes, sums, sizeof lanes);
    for (size_t half = Level::kLanes / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

// What a core reads soon, asked for early and evenly, because a row is too short for the hardware to learn its stream, and
// few reads can be under way at once. It comes into the second cache: in the first it would push out the activations.
// Weights lie in two streams, so many bits of each in both.
struct Soon {
    const uint8_t* streams[2];
    size_t bits[2];

    // For the next cache line's worth of weights behind so many.
    ZIPMOE_INLINE void ask(size_t weights) const {
        repeat<2>([&](auto i) ZIPMOE_INLINED { __builtin_prefetch(streams[i] + weights * bits[i] / 8, 0, 2); });
    }
    ZIPMOE_INLINE Soon from(size_t weights) const {
        return {{streams[0] + weights * bits[0] / 8, streams[1] + weights * bits[1] / 8}, {bits[0], bits[1]}};
    }
};

}  // namespace zipmoe
