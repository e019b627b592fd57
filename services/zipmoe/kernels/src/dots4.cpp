#include "dots4.h"

#include <algorithm>
#include <vector>

#include "dots.h"
#include "sums.h"

namespace zipmoe {
namespace {

constexpr size_t kBand = 8;
constexpr size_t kHalf4 = kBlock4 / 2;
constexpr size_t kFewTokens = 4;

// Rows of whole blocks, in one span: from weight `first` of a chunk on, whose sign-mantissas are given.
struct Rows4 {
    const Chunk4& chunk;
    const uint8_t* sign_mantissa;
    size_t first;
    size_t columns;

    Rows4 from(size_t row) const { return {chunk, sign_mantissa, first + row * columns, columns}; }
};

// Two groups of one row: the low and the high nibbles of 32 bytes.
template <typename Level, size_t kTokens>
ZIPMOE_INLINE void add_half(typename Level::Floats (&sums)[kTokens], const uint8_t* sign_mantissa,
                            const uint8_t* nibbles, const typename Level::Exponents& of, const float* x,
                            size_t width) {
    typename Level::Group words;
    Level::template decode<0>(sign_mantissa, nibbles, of, words);
    add<Level>(sums, words, x, width);
    Level::template decode<1>(sign_mantissa + kGroup, nibbles, of, words);
    add<Level>(sums, words, x + kGroup, width);
}

// The same for groups with escapes, which are written into the decoded words on their way through memory.
template <typename Level, size_t kTokens>
ZIPMOE_INLINE void add_patched(typename Level::Floats (&sums)[kTokens], const uint8_t* sign_mantissa,
                               const uint8_t* nibbles, const typename Level::Exponents& of, const float* x,
                               size_t width, size_t first, const Escape*& escape, const Escape* end) {
    uint16_t patched[2 * kGroup];
    typename Level::Group words;
    Level::template decode<0>(sign_mantissa, nibbles, of, words);
    Level::store(words, patched);
    Level::template decode<1>(sign_mantissa + kGroup, nibbles, of, words);
    Level::store(words, patched + kGroup);
    for (; escape != end && escape->position() < first + 2 * kGroup; ++escape) {
        const size_t at = escape->position() - first;
        patched[at] = joined(escape->exponent(), sign_mantissa[at]);
    }
    Level::load(patched, words);
    add<Level>(sums, words, x, width);
    Level::load(patched + kGroup, words);
    add<Level>(sums, words, x + kGroup, width);
}

template <typename Level, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void block(const Rows4& rows, const float* x, float* out, size_t stride) {
    const size_t columns = rows.columns;
    const Chunk4& chunk = rows.chunk;
    const typename Level::Exponents of(chunk.base(rows.first));
    const Escape* next[kRows];
    next[0] = chunk.escape_from(rows.first);
    for (size_t r = 1; r < kRows; ++r) {
        next[r] = next[r - 1];
        while (next[r] != chunk.escapes_end && next[r]->position() < rows.first + r * columns) ++next[r];
    }
    Sums<Level, kRows, kTokens> sums = {};
    for (size_t k = 0;; k += kHalf4) {
        size_t calm = columns;
        for (size_t r = 0; r < kRows; ++r)
            if (next[r] != chunk.escapes_end)
                calm = std::min(calm, (next[r]->position() - (rows.first + r * columns)) / kHalf4 * kHalf4);
        const uint8_t* sm = rows.sign_mantissa + rows.first + k;
        const uint8_t* nibbles = chunk.nibbles + (rows.first + k) / 2;
        for (; k < calm; k += kHalf4, sm += kHalf4, nibbles += kHalf4 / 2) {
            repeat<kRows>([&](auto r) ZIPMOE_INLINED {
                const uint8_t *const s = sm + r * columns, *const n = nibbles + r * columns / 2;
                prefetch(s + kRows * columns);
                prefetch(n + kRows * columns / 2);
                add_half<Level>(sums[r], s, n, of, x + k, columns);
            });
        }
        if (k == columns) break;
        repeat<kRows>([&](auto r) ZIPMOE_INLINED {
            add_patched<Level>(sums[r], sm + r * columns, nibbles + r * columns / 2, of, x + k, columns,
                               rows.first + r * columns + k, next[r], chunk.escapes_end);
        });
    }
    store<Level, kRows, kTokens>(sums, out, stride);
}

struct Dots4 {
    template <typename Level>
    ZIPMOE_INLINE static void run(const Rows4& rows, size_t count, const float* x, size_t tokens, float* out,
                                  size_t stride) {
        for_blocks<Level::kSums>(
            count, tokens, [&]<size_t kRows, size_t kTokens>(size_t r, size_t t) ZIPMOE_INLINED {
                block<Level, kRows, kTokens>(rows.from(r), x + t * rows.columns, out + t * stride + r, stride);
            });
    }
};

void dots_of_rows(const Rows4& rows, size_t count, const float* x, size_t tokens, float* out, size_t stride) {
    static const auto best = fastest<Dots4>(dots_of_rows);
    best(rows, count, x, tokens, out, stride);
}

// A few rows at a time through the nearest cache: for rows that are not whole blocks or lie in two spans, and for so
// many tokens that a weight would be decoded several times.
void dots_of_words(const Run4& run, size_t first, size_t rows, size_t columns, const float* x, size_t tokens,
                   float* out, size_t stride) {
    thread_local std::vector<uint16_t> words;
    words.resize(kBand * columns);
    for (size_t r = 0; r < rows; r += kBand) {
        const size_t count = std::min(kBand, rows - r);
        unpack4(run, first + r * columns, count * columns, words.data());
        dots(words.data(), count, columns, x, tokens, out + r, stride);
    }
}

}  // namespace

void dots4(const Run4& run, size_t first, size_t rows, size_t columns, const float* x, size_t tokens, float* out,
           size_t stride) {
    if (first % kBlock4 != 0 || columns % kBlock4 != 0 || tokens > kFewTokens)
        return dots_of_words(run, first, rows, columns, x, tokens, out, stride);
    for (size_t r = 0; r < rows;) {
        const size_t at = first + r * columns, in_span = (kSpan4 - at % kSpan4) / columns;
        const size_t count = std::min(rows - r, std::max<size_t>(in_span, 1)), chunk = at / kChunk4;
        if (in_span)
            dots_of_rows({run.chunks[chunk], run.sign_mantissa + chunk * kChunk4, at % kChunk4, columns}, count, x,
                         tokens, out + r, stride);
        else
            dots_of_words(run, at, count, columns, x, tokens, out + r, stride);
        r += count;
    }
}

}  // namespace zipmoe
