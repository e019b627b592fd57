#pragma once

#include <cstring>

#include "level.h"

namespace zipmoe {

// The sums of a few rows times a few tokens. The order of additions is written here once, for every form of weights:
// so the bits of a product depend neither on the form nor on the shape of the block.
template <typename Level, size_t kRows, size_t kTokens>
using Sums = typename Level::Floats[kRows][kTokens];

// The registers of a group add to one after the other of a few such sums, for each addition waits for the one before it.
template <typename Level, size_t kRows, size_t kTokens>
using Chains = Sums<Level, kRows, kTokens>[Level::kChains];

// Rows that are multiplied together, and with many tokens side by side: each activation that is loaded serves them all.
constexpr size_t kBand = 4;

// Columns after which chains become one. Activations of so many, of a few tokens, stay in the nearest cache, and so do a
// band's words.
template <typename Level>
constexpr size_t kDepth = 4096 / sizeof(typename Level::Activation);

template <typename Level, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void fold(Chains<Level, kRows, kTokens>& sums) {
    repeat<Level::kChains - 1>([&](auto c) ZIPMOE_INLINED {
        repeat<kRows>([&](auto r) ZIPMOE_INLINED {
            repeat<kTokens>([&](auto t) ZIPMOE_INLINED {
                sums[0][r][t] += sums[c + 1][r][t];
                sums[c + 1][r][t] = typename Level::Floats{};
            });
        });
    });
}

// Add a register of weights of each row, times the tokens, whose activations are `width` floats apart.
template <typename Level, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void add(Sums<Level, kRows, kTokens>& sums, const typename Level::Words (&words)[kRows],
                       const typename Level::Activation* x, size_t width) {
    if constexpr (Level::kTakesWords) {
        repeat<kTokens>([&](auto t) ZIPMOE_INLINED {
            typename Level::Words activations;
            std::memcpy(&activations, x + t * width, sizeof activations);
            if constexpr (kRows > 1) Level::hold(activations);
            repeat<kRows>([&](auto r) ZIPMOE_INLINED { Level::multiply(sums[r][t], words[r], activations); });
        });
    } else {
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
}

// Add a group of weights of each of some rows, from the `first` on.
template <typename Level, size_t kRows, size_t kTokens, size_t kSome>
ZIPMOE_INLINE void add_groups(Chains<Level, kRows, kTokens>& sums, size_t first,
                              const typename Level::Group (&groups)[kSome], const typename Level::Activation* x,
                              size_t width) {
    repeat<Level::kCount>([&](auto i) ZIPMOE_INLINED {
        typename Level::Words words[kSome];
        repeat<kSome>([&](auto r) ZIPMOE_INLINED { words[r] = groups[r][i]; });
        auto& some = reinterpret_cast<Sums<Level, kSome, kTokens>&>(sums[i % Level::kChains][first]);
        add<Level, kSome, kTokens>(some, words, x + i * Level::kWords, width);
    });
}

// The sum of a register's lanes: of its halves, until one lane is left.
template <size_t kLanes, typename Floats>
ZIPMOE_INLINE float total(const Floats& sums) {
    if constexpr (kLanes == 1) {
        return sums[0];
    } else {
        typedef float Half __attribute__((vector_size(sizeof sums / 2)));
        Half low, high;
        std::memcpy(&low, &sums, sizeof low);
        std::memcpy(&high, reinterpret_cast<const char*>(&sums) + sizeof low, sizeof high);
        return total<kLanes / 2>(low + high);
    }
}

// What a core reads soon, asked for early and evenly, because a row is too short for the hardware to learn its stream, and
// few reads can be under way at once. Of weights that lie in several streams, so many bits of each in every one.
template <size_t kStreams>
struct Soon {
    const uint8_t* streams[kStreams];
    size_t bits[kStreams];

    // For the next cache line's worth of weights behind so many.
    template <typename Level>
    ZIPMOE_INLINE void ask(size_t weights) const {
        repeat<kStreams>([&](auto i) ZIPMOE_INLINED { Level::ask(streams[i] + weights * bits[i] / 8); });
    }
    ZIPMOE_INLINE Soon from(size_t weights) const {
        Soon there = *this;
        repeat<kStreams>([&](auto i) ZIPMOE_INLINED { there.streams[i] += weights * bits[i] / 8; });
        return there;
    }
};

}  // namespace zipmoe
