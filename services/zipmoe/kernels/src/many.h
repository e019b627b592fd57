#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "operand.h"
#include "sums.h"

namespace zipmoe {

// Add `count` columns of a band, whose rows of words are so many apart, to the sums of a few of `tokens` tokens, which are
// zero until now if these columns are the first.
template <size_t kTokens, bool kAsks, size_t kStreams>
struct AddColumns {
    template <typename Level>
    ZIPMOE_INLINE static void run(const uint16_t* words, size_t count, const typename Level::Activation* x, size_t width,
                                  float* sums, size_t tokens, bool first, const Soon<kStreams>& soon) {
        constexpr size_t kWords = Level::kWords, kStep = kWords * Level::kChains;
        constexpr size_t kAsked = std::max<size_t>(1, kBand * kStep / kLineOfBytes);
        Chains<Level, kBand, kTokens> held = {};
        const auto each_sum = [&](auto&& act) ZIPMOE_INLINED {
            repeat<kBand>([&](auto r) ZIPMOE_INLINED {
                repeat<kTokens>([&](auto t) ZIPMOE_INLINED { act(held[0][r][t], sums + (r * tokens + t) * Level::kLanes); });
            });
        };
        if (!first) each_sum([](auto& sum, float* kept) ZIPMOE_INLINED { std::memcpy(&sum, kept, sizeof sum); });
        for (size_t k = 0; k < count; k += kStep) {
            if constexpr (kAsks) {
                repeat<kAsked>([&](auto i) ZIPMOE_INLINED {
                    soon.template ask<Level>(kBand * k + i * kLineOfBytes);
                });
            }
            repeat<Level::kChains>([&](auto c) ZIPMOE_INLINED {
                typename Level::Words each[kBand];
                repeat<kBand>([&](auto r) ZIPMOE_INLINED {
                    std::memcpy(&each[r], words + r * count + k + c * kWords, sizeof each[r]);
                    Level::hold(each[r]);
                });
                add<Level, kBand, kTokens>(held[c], each, x + k + c * kWords, width);
            });
        }
        fold<Level, kBand, kTokens>(held);
        each_sum([](auto& sum, float* kept) ZIPMOE_INLINED { std::memcpy(kept, &sum, sizeof sum); });
    }
};

// All tokens, as many at once as there are registers for their sums, and evenly: few would wait for each addition.
template <typename Level, size_t kStreams>
ZIPMOE_INLINE void add_columns(const uint16_t* words, size_t count, const typename Level::Activation* x, size_t width,
                               float* sums, size_t tokens, bool first, const Soon<kStreams>& soon) {
    using Activation = typename Level::Activation;
    using Build = void (*)(const uint16_t*, size_t, const Activation*, size_t, float*, size_t, bool, const Soon<kStreams>&);
    constexpr size_t kMost = Level::kSums / kBand / Level::kChains;
    constexpr auto builds = []<bool kAsks, size_t... less>(std::bool_constant<kAsks>, std::index_sequence<less...>) {
        return std::array<Build, kMost>{Builds<AddColumns<less + 1, kAsks, kStreams>, const uint16_t*, size_t,
                                               const Activation*, size_t, float*, size_t, bool,
                                               const Soon<kStreams>&>::template at<Level>()...};
    };
    static constexpr auto asking = builds(std::true_type{}, std::make_index_sequence<kMost>{});
    static constexpr auto adding = builds(std::false_type{}, std::make_index_sequence<kMost>{});
    for (size_t t = 0, now = 0; t < tokens; t += now) {
        const size_t left = tokens - t, turns = (left + kMost - 1) / kMost;
        now = (left + turns - 1) / turns;
        const Build build = t ? adding[now - 1] : asking[now - 1];
        build(words, count, x + t * width, width, sums + t * Level::kLanes, tokens, first, soon);
    }
}

// The dots of up to kBand rows with many tokens: weights become words once for all of them.
template <typename Level, typename Source>
ZIPMOE_INLINE void band_of_many(const Source& source, size_t rows, size_t columns, const typename Level::Activation* x,
                                size_t tokens, float* out, size_t stride) {
    constexpr size_t kGroup = Level::kGroup;
    thread_local std::vector<float> sums;
    alignas(64) uint16_t words[kBand * kDepth<Level>];
    const size_t width = whole_groups(columns), filled = (columns + kGroup - 1) / kGroup * kGroup;
    sums.resize(std::max(sums.size(), kBand * tokens * Level::kLanes));
    if (filled == 0) std::fill(sums.begin(), sums.end(), 0.0f);
    for (size_t first = 0; first < filled; first += kDepth<Level>) {
        const size_t count = std::min(kDepth<Level>, filled - first), end = std::min(first + count, columns);
        for (size_t r = 0; r < rows; ++r) {
            uint16_t* to = words + r * count;
            typename Level::Group group;
            const auto keep = [&] ZIPMOE_INLINED {
                repeat<Level::kCount>([&](auto i) ZIPMOE_INLINED {
                    std::memcpy(to + i * Level::kWords, &group[i], sizeof group[i]);
                });
                to += kGroup;
            };
            size_t k = first;
            for (; k + kGroup <= end; k += kGroup) {
                source.load(r, k, group);
                keep();
            }
            if (k < end) {
                source.last(r, k, end - k, group);
                keep();
            }
        }
        add_columns<Level>(words, count, x + first, width, sums.data(), tokens, first == 0, source.soon.from(kBand * first));
    }
    for (size_t r = 0; r < rows; ++r) {
        for (size_t t = 0; t < tokens; ++t) {
            typename Level::Floats sum;
            std::memcpy(&sum, &sums[(r * tokens + t) * Level::kLanes], sizeof sum);
            out[t * stride + r] = total<Level::kLanes>(sum);
        }
    }
}

}  // namespace zipmoe
