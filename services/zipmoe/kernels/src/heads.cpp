#include "heads.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bf16.h"
#include "exponential.h"
#include "level.h"
#include "sums.h"
#include "targets.h"

namespace zipmoe {
namespace {

// Positions that keys and values are asked for ahead: some kilobytes, about as long as memory takes.
constexpr size_t kAhead = 8;

// act(h, of the keys the one that head h has, from the first's on)
template <typename Act>
ZIPMOE_INLINE void each(const Heads& heads, Act&& act) {
    for (size_t h = 0, key = 0, place = heads.first; h < heads.count; ++h) {
        act(h, key);
        if (++place == heads.shared) ++key, place = 0;
    }
}

// Asks for what heads have, `count` words, of the position kAhead behind this one: the hardware does not, for what other
// threads' heads have lies between.
template <typename Level>
ZIPMOE_INLINE void ask(const Stretch& rows, size_t s, size_t count) {
    const size_t there = s + kAhead;
    const auto* const row = reinterpret_cast<const uint8_t*>(
        there < rows.tokens ? rows.words + there * rows.stride : rows.next + (there - rows.tokens) * rows.stride);
    for (size_t i = 0; i < 2 * count; i += kLineOfBytes) Level::ask_near(row + i);
}

// A register of numbers, from words.
template <typename Level>
ZIPMOE_INLINE void take(const uint16_t* words, typename Level::Floats& numbers) {
    typedef uint16_t Narrow __attribute__((vector_size(2 * Level::kLanes)));
    Narrow narrow;
    std::memcpy(&narrow, words, sizeof narrow);
    numbers = (typename Level::Floats)(__builtin_convertvector(narrow, typename Level::Pairs) << 16);
}

struct Products {
    template <typename Level>
    ZIPMOE_INLINE static void run(const float* queries, const Heads& heads, size_t width, const Stretch& keys,
                                  float* scores, size_t positions) {
        constexpr size_t kLanes = Level::kLanes, kChains = 2;
        using Floats = typename Level::Floats;
        for (size_t s = 0; s < keys.tokens; ++s) {
            ask<Level>(keys, s, heads.kept() * width);
            const uint16_t* const row = keys.words + s * keys.stride;
            each(heads, [&](size_t h, size_t of) ZIPMOE_INLINED {
                const float* const query = queries + h * width;
                const uint16_t* const key = row + of * width;
                Floats sums[kChains] = {};
                size_t i = 0;
                const auto add = [&](Floats& sum) ZIPMOE_INLINED {
                    Floats numbers, asked;
                    take<Level>(key + i, numbers);
                    std::memcpy(&asked, query + i, sizeof asked);
                    sum += asked * numbers;
                    i += kLanes;
                };
                while (i + kChains * kLanes <= width)
                    repeat<kChains>([&](auto c) ZIPMOE_INLINED { add(sums[c]); });
                while (i + kLanes <= width) add(sums[0]);
                float score = total<kLanes>(sums[0] + sums[1]);
                for (; i < width; ++i) score += query[i] * widen(key[i]);
                scores[h * positions + s] = score;
            });
        }
    }
};

struct Mix {
    template <typename Level>
    ZIPMOE_INLINE static void run(const float* shares, size_t positions, const Heads& heads, const Stretch& values,
                                  size_t width, float* out) {
        size_t s = 0;
        while (s + 2 <= values.tokens) some<Level, 2>(shares, positions, heads, values, width, out, s);
        while (s < values.tokens) some<Level, 1>(shares, positions, heads, values, width, out, s);
    }

private:
    // Of a few positions at once, for to put sums aside and take them up again takes as long as to add to them.
    template <typename Level, size_t kSome>
    ZIPMOE_INLINE static void some(const float* shares, size_t positions, const Heads& heads, const Stretch& values,
                                   size_t width, float* out, size_t& s) {
        constexpr size_t kLanes = Level::kLanes;
        using Floats = typename Level::Floats;
        const uint16_t* const row = values.words + s * values.stride;
        repeat<kSome>([&](auto j) ZIPMOE_INLINED { ask<Level>(values, s + j, heads.kept() * width); });
        each(heads, [&](size_t h, size_t of) ZIPMOE_INLINED {
            const float* const share = shares + h * positions + s;
            const uint16_t* const value = row + of * width;
            float* const sum = out + h * width;
            size_t i = 0;
            for (; i + kLanes <= width; i += kLanes) {
                Floats total;
                std::memcpy(&total, sum + i, sizeof total);
                repeat<kSome>([&](auto j) ZIPMOE_INLINED {
                    Floats numbers;
                    take<Level>(value + j * values.stride + i, numbers);
                    total += share[j] * numbers;
                });
                std::memcpy(sum + i, &total, sizeof total);
            }
            for (; i < width; ++i)
                for (size_t j = 0; j < kSome; ++j) sum[i] += share[j] * widen(value[j * values.stride + i]);
        });
        s += kSome;
    }
};

}  // namespace

void products(const float* queries, const Heads& heads, size_t width, const Stretch& keys, float* scores,
              size_t positions) {
    static const auto best = fastest<Products>(products);
    best(queries, heads, width, keys, scores, positions);
}

ZIPMOE_CLONES
void softmax(float* scores, size_t positions, float scale) {
    float most = -INFINITY, sum = 0;
    for (size_t s = 0; s < positions; ++s) scores[s] = rounded(rounded(scores[s]) * scale);
    for (size_t s = 0; s < positions; ++s) most = std::max(most, scores[s]);
    for (size_t s = 0; s < positions; ++s) scores[s] = exponential(scores[s] - most);
    for (size_t s = 0; s < positions; ++s) sum += scores[s];
    for (size_t s = 0; s < positions; ++s) scores[s] = rounded(scores[s] / sum);
}

void mix(const float* shares, size_t positions, const Heads& heads, const Stretch& values, size_t width, float* out) {
    static const auto best = fastest<Mix>(mix);
    best(shares, positions, heads, values, width, out);
}

}  // namespace zipmoe
