#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "activations.h"
#include "bf16.h"
#include "exponential.h"
#include "level.h"
#include "sums.h"
#include "targets.h"
#include "thread_pool.h"

namespace zipmoe {
namespace {

// Positions that keys and values are asked for ahead: some kilobytes, about as long as memory takes.
constexpr size_t kAhead = 8;
// Products for which another thread is worth waking.
constexpr size_t kWorthSharing = 1 << 13;

// Heads of a token that are attended together: what they have of a position lies together, so memory is read in order.
struct Heads {
    size_t count;
    size_t shared;  // heads of the query that share one of the keys
    size_t first;   // of those that share, the first's place among them

    // Heads of the keys that these have.
    size_t kept() const { return (first + count - 1) / shared + 1; }

    // act(h, of the keys the one that head h has, from the first's on)
    template <typename Act>
    ZIPMOE_INLINE void each(Act&& act) const {
        for (size_t h = 0, key = 0, place = first; h < count; ++h) {
            act(h, key);
            if (++place == shared) ++key, place = 0;
        }
    }
};

// Keys or values of a few positions, `stride` words apart, of some heads; then those that are read `next`.
struct Stretch {
    const uint16_t* words;
    size_t tokens;
    size_t stride;
    const uint16_t* next;

    // Asks for what the heads have of the position kAhead behind this one, `count` words: the hardware does not, for what
    // other threads' heads have lies between.
    template <typename Level>
    ZIPMOE_INLINE void ask(size_t s, size_t count) const {
        const size_t there = s + kAhead;
        const uint16_t* const from = there < tokens ? words + there * stride : next + (there - tokens) * stride;
        const auto* const row = reinterpret_cast<const uint8_t*>(from);
        for (size_t i = 0; i < 2 * count; i += kLineOfBytes) Level::ask_near(row + i);
    }
};

// A register of numbers, from words.
template <typename Level>
ZIPMOE_INLINE void take(const uint16_t* words, typename Level::Floats& numbers) {
    typedef uint16_t Narrow __attribute__((vector_size(2 * Level::kLanes)));
    Narrow narrow;
    std::memcpy(&narrow, words, sizeof narrow);
    numbers = (typename Level::Floats)(__builtin_convertvector(narrow, typename Level::Pairs) << 16);
}

// scores[h][s] = query h times its key of position s, in FP32; scores of a head are `positions` apart.
struct Products {
    template <typename Level>
    ZIPMOE_INLINE static void run(const float* queries, const Heads& heads, size_t width, const Stretch& keys,
                                  float* scores, size_t positions) {
        constexpr size_t kLanes = Level::kLanes, kChains = 2;
        using Floats = typename Level::Floats;
        for (size_t s = 0; s < keys.tokens; ++s) {
            keys.template ask<Level>(s, heads.kept() * width);
            const uint16_t* const row = keys.words + s * keys.stride;
            heads.each([&](size_t h, size_t of) ZIPMOE_INLINED {
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

// Scores, rounded as they are scaled and again as shares.
ZIPMOE_CLONES
void softmax(float* scores, size_t positions, float scale) {
    float most = -INFINITY, sum = 0;
    for (size_t s = 0; s < positions; ++s) scores[s] = rounded(rounded(scores[s]) * scale);
    for (size_t s = 0; s < positions; ++s) most = std::max(most, scores[s]);
    for (size_t s = 0; s < positions; ++s) scores[s] = exponential(scores[s] - most);
    for (size_t s = 0; s < positions; ++s) sum += scores[s];
    for (size_t s = 0; s < positions; ++s) scores[s] = rounded(scores[s] / sum);
}

void products(const float* queries, const Heads& heads, size_t width, const Stretch& keys, float* scores,
              size_t positions) {
    static const auto best = fastest<Products>(products);
    best(queries, heads, width, keys, scores, positions);
}

// out[h][i] += sum over s of shares[h][s] * values[s][i] of h; shares of a head are `positions` apart.
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
        repeat<kSome>([&](auto j) ZIPMOE_INLINED { values.template ask<Level>(s + j, heads.kept() * width); });
        heads.each([&](size_t h, size_t of) ZIPMOE_INLINED {
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

void mix(const float* shares, size_t positions, const Heads& heads, const Stretch& values, size_t width, float* out) {
    static const auto best = fastest<Mix>(mix);
    best(shares, positions, heads, values, width, out);
}

// The pages of a sequence's first `positions` tokens: act(first token of the page, its rows). Behind the last one comes
// `then`.
template <typename Act>
void each_page(const int32_t* pages, size_t page, size_t positions, const uint16_t* words, size_t stride,
               const uint16_t* then, Act act) {
    const auto at = [&](size_t from) { return words + static_cast<size_t>(pages[from / page]) * page * stride; };
    for (size_t from = 0; from < positions; from += page)
        act(from, Stretch{at(from), std::min(page, positions - from), stride,
                          from + page < positions ? at(from + page) : then});
}

// Some heads of one token, whose first one has the keys `head`.
void attend_heads(const uint16_t* query, const Cache& cache, const int32_t* pages, size_t head, const Heads& heads,
                  size_t positions, float scale, uint16_t* out) {
    const size_t width = cache.width, value_width = cache.value_width;
    thread_local std::vector<float> wide, sums, scores;
    wide.resize(heads.count * width);
    sums.assign(heads.count * value_width, 0.0f);
    scores.resize(heads.count * positions);
    for (size_t i = 0; i < wide.size(); ++i) wide[i] = widen(query[i]);
    const size_t stride = cache.heads * width, value_stride = cache.values ? cache.heads * value_width : stride;
    const uint16_t* const keys = cache.keys + head * width;
    const uint16_t* const values = cache.values ? cache.values + head * value_width : keys;
    const uint16_t* const first = values + static_cast<size_t>(pages[0]) * cache.page * value_stride;
    each_page(pages, cache.page, positions, keys, stride, first, [&](size_t from, const Stretch& rows) {
        products(wide.data(), heads, width, rows, scores.data() + from, positions);
    });
    for (size_t h = 0; h < heads.count; ++h) softmax(scores.data() + h * positions, positions, scale);
    each_page(pages, cache.page, positions, values, value_stride, first, [&](size_t from, const Stretch& rows) {
        mix(scores.data() + from, positions, heads, rows, value_width, sums.data());
    });
    for (size_t i = 0; i < sums.size(); ++i) out[i] = narrow(sums[i]);
}

}  // namespace

void store(const Cache& cache, const std::vector<Rows>& sequences, const uint16_t* key, const uint16_t* value) {
    const size_t stride = cache.heads * cache.width, value_stride = cache.values ? cache.heads * cache.value_width : 0;
    for (const auto& [rows, start, pages] : sequences) {
        for (size_t at = start; at < start + rows; ++at, key += stride, value += value_stride) {
            const size_t row = static_cast<size_t>(pages[at / cache.page]) * cache.page + at % cache.page;
            std::copy(key, key + stride, cache.keys + row * stride);
            std::copy(value, value + value_stride, cache.values + row * value_stride);
        }
    }
}

void attend(const uint16_t* query, size_t heads, const Cache& cache, const std::vector<Rows>& sequences, float scale,
            uint16_t* out, size_t threads) {
    const size_t shared = heads / cache.heads;
    std::vector<size_t> ends;  // of the sequences, in rows
    size_t work = 0;
    for (const auto& [rows, start, pages] : sequences) {
        ends.push_back((ends.empty() ? 0 : ends.back()) + rows);
        work += rows * heads * (start + rows) * cache.width;
    }
    if (ends.empty()) return;
    ThreadPool::instance().run(ends.back() * heads, work >= kWorthSharing ? threads : 1, [&](size_t at, size_t last) {
        while (at < last) {
            const size_t row = at / heads, head = at % heads, count = std::min(heads - head, last - at);
            const auto of = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), row) - ends.begin());
            const Rows& sequence = sequences[of];
            const size_t positions = sequence.start + row + 1 - (ends[of] - sequence.rows);
            attend_heads(query + at * cache.width, cache, sequence.pages, head / shared, {count, shared, head % shared},
                         positions, scale, out + at * cache.value_width);
            at += count;
        }
    });
}

}  // namespace zipmoe
