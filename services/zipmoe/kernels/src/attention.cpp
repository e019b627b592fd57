#include <algorithm>
#include <cmath>
#include <vector>

#include "activations.h"
#include "bf16.h"
#include "exponential.h"
#include "targets.h"
#include "thread_pool.h"

namespace zipmoe {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kLineOfWords = 32;
// Positions that keys and values are asked for ahead: some kilobytes, about as long as memory takes.
constexpr size_t kAhead = 8;
// Products for which another thread is worth waking.
constexpr size_t kWorthSharing = 1 << 13;

// Heads of a token that are attended together: what they have of a position lies together, so memory is read in order.
struct Heads {
    size_t count;
    size_t shared;  // heads of the query that share one of the keys
    size_t first;   // of those that share, the first's place among them
    size_t head(size_t h) const { return (first + h) / shared; }  // whose keys head h has, from the first's on
    size_t kept() const { return head(count - 1) + 1; }           // heads of the keys that these have
};

// Keys or values of a few positions, `stride` words apart, of some heads; then those that are read `next`.
struct Stretch {
    const uint16_t* words;
    size_t tokens;
    size_t stride;
    const uint16_t* next;

    // Asks for what the heads have of the position kAhead behind this one, `count` words: the hardware does not, for what
    // other threads' heads have lies between.
    ZIPMOE_INLINE void ask(size_t s, size_t count) const {
        const size_t there = s + kAhead;
        const uint16_t* const row = there < tokens ? words + there * stride : next + (there - tokens) * stride;
        for (size_t i = 0; i < count; i += kLineOfWords) __builtin_prefetch(row + i, 0, 3);
    }
};

// scores[h][s] = query h times its key of position s, in FP32; scores of a head are `positions` apart.
ZIPMOE_CLONES
void products(const float* queries, const Heads& heads, size_t width, const Stretch& keys, float* scores,
              size_t positions) {
    for (size_t s = 0; s < keys.tokens; ++s) {
        keys.ask(s, heads.kept() * width);
        for (size_t h = 0; h < heads.count; ++h) {
            const float* const query = queries + h * width;
            const uint16_t* const key = keys.words + s * keys.stride + heads.head(h) * width;
            float lanes[kLanes] = {};
            size_t i = 0;
            for (; i + kLanes <= width; i += kLanes)
                for (size_t l = 0; l < kLanes; ++l) lanes[l] += query[i + l] * widen(key[i + l]);
            for (; i < width; ++i) lanes[i % kLanes] += query[i] * widen(key[i]);
            for (size_t half = kLanes / 2; half > 0; half /= 2)
                for (size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
            scores[h * positions + s] = lanes[0];
        }
    }
}

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

// out[h][i] += sum over s of shares[h][s] * values[s][i] of h; shares of a head are `positions` apart.
ZIPMOE_CLONES
void mix(const float* shares, size_t positions, const Heads& heads, const Stretch& values, size_t width, float* out) {
    for (size_t s = 0; s < values.tokens; ++s) {
        values.ask(s, heads.kept() * width);
        for (size_t h = 0; h < heads.count; ++h) {
            const uint16_t* const value = values.words + s * values.stride + heads.head(h) * width;
            const float share = shares[h * positions + s];
            float* const sum = out + h * width;
            for (size_t i = 0; i < width; ++i) sum[i] += share * widen(value[i]);
        }
    }
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
