#include <algorithm>
#include <vector>

#include "activations.h"
#include "bf16.h"
#include "heads.h"
#include "thread_pool.h"

namespace zipmoe {
namespace {

// Products for which another thread is worth waking.
constexpr size_t kWorthSharing = 1 << 13;

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
