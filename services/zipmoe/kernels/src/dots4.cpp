#include "dots4.h"

#include <algorithm>
#include <vector>

#include "decode4.h"
#include "dots.h"
#include "sums.h"

namespace zipmoe {
namespace {

constexpr size_t kBand = 8;
constexpr size_t kFewTokens = 4;

// Rows of whole blocks, in one span.
struct Rows4 {
    const Run4& run;
    size_t first;
    size_t columns;
};

template <size_t kGroup, typename Exponents, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void add_group(Sums<kRows, kTokens>& sums, const uint8_t* sm, const uint8_t* nibbles,
                             const Exponents& of, size_t columns, const float* x) {
    Pairs words[kRows];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r)
        decode4<kGroup>(sm + r * columns + kGroup * kGroup4, nibbles + r * columns / 2, of, &words[r]);
    add(sums, words, x + kGroup * kGroup4, columns);
}

// One block of each row that may hold escapes: through memory.
template <size_t kRows, size_t kTokens>
ZIPMOE_INLINE void add_patched(Sums<kRows, kTokens>& sums, const Rows4& rows, size_t k, const float* x) {
    uint16_t block[kRows][kBlock4];
    for (size_t r = 0; r < kRows; ++r) unpack4(rows.run, rows.first + r * rows.columns + k, kBlock4, block[r]);
    for (size_t g = 0; g < kBlock4; g += kGroup4) {
        Pairs words[kRows];
        for (size_t r = 0; r < kRows; ++r) std::memcpy(&words[r], block[r] + g, sizeof words[r]);
        add(sums, words, x + g, rows.columns);
    }
}

template <typename Exponents, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void block(const Rows4& rows, const float* x, float* out, size_t stride) {
    const size_t columns = rows.columns;
    const Run4& run = rows.run;
    const Exponents of(run.base(rows.first));
    const Escape* next[kRows];
    next[0] = run.escape_from(rows.first);
    for (size_t r = 1; r < kRows; ++r) {
        next[r] = next[r - 1];
        while (next[r] != run.escapes_end && next[r]->position < rows.first + r * columns) ++next[r];
    }
    Sums<kRows, kTokens> sums = {};
    for (size_t k = 0;;) {
        size_t calm = columns;
        for (size_t r = 0; r < kRows; ++r)
            if (next[r] != run.escapes_end)
                calm = std::min(calm, (next[r]->position - (rows.first + r * columns)) / kBlock4 * kBlock4);
        const uint8_t* sm = run.sign_mantissa + rows.first + k;
        const uint8_t* nibbles = run.nibbles + (rows.first + k) / 2;
        for (; k < calm; k += kBlock4, sm += kBlock4, nibbles += kBlock4 / 2) {
#pragma GCC unroll 8
            for (size_t r = 0; r < kRows; ++r) {
                prefetch(sm + (r + kRows) * columns);
                prefetch(sm + (r + kRows) * columns + 64);
                prefetch(nibbles + (r + kRows) * columns / 2);
            }
            add_group<0>(sums, sm, nibbles, of, columns, x + k);
            add_group<1>(sums, sm, nibbles, of, columns, x + k);
            add_group<2>(sums, sm, nibbles, of, columns, x + k);
            add_group<3>(sums, sm, nibbles, of, columns, x + k);
        }
        if (k == columns) break;
        add_patched(sums, rows, k, x + k);
        k += kBlock4;
        for (size_t r = 0; r < kRows; ++r)
            while (next[r] != run.escapes_end && next[r]->position < rows.first + r * columns + k) ++next[r];
    }
    store(sums, out, stride);
}

template <typename Exponents, size_t kMost>
ZIPMOE_INLINE void blocks(const Run4& run, size_t first, size_t rows, size_t columns, const float* x, size_t tokens,
                          float* out, size_t stride) {
    for_blocks<kMost>(rows, tokens, [&]<size_t kRows, size_t kTokens>(size_t r, size_t t) __attribute__((always_inline)) {
        block<Exponents, kRows, kTokens>({run, first + r * columns, columns}, x + t * columns, out + t * stride + r, stride);
    });
}

using Dots4 = void(const Run4&, size_t, size_t, size_t, const float*, size_t, float*, size_t);

#define ZIPMOE_DOTS4(name, how, most)                                                                                    \
    void name(const Run4& run, size_t first, size_t rows, size_t columns, const float* x, size_t tokens, float* out, \
              size_t stride) {                                                                                       \
        blocks<how, most>(run, first, rows, columns, x, tokens, out, stride);                                             \
    }

ZIPMOE_DOTS4(dots_plain, Adding, kFewSums)
#if ZIPMOE_LEVELS
ZIPMOE_AVX512 ZIPMOE_DOTS4(dots_avx512, LookingUp, kManySums)
ZIPMOE_AVX2 ZIPMOE_DOTS4(dots_avx2, Adding, kFewSums)
#endif

Dots4* fastest() {
#if ZIPMOE_LEVELS
    if (__builtin_cpu_supports("x86-64-v4")) return dots_avx512;
    if (__builtin_cpu_supports("x86-64-v3")) return dots_avx2;
#endif
    return dots_plain;
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
    static Dots4* const best = fastest();
    if (first % kBlock4 != 0 || columns % kBlock4 != 0 || tokens > kFewTokens)
        return dots_of_words(run, first, rows, columns, x, tokens, out, stride);
    for (size_t r = 0; r < rows;) {
        const size_t at = first + r * columns, in_span = (kSpan4 - at % kSpan4) / columns;
        const size_t count = std::min(rows - r, std::max<size_t>(in_span, 1));
        (in_span ? *best : dots_of_words)(run, at, count, columns, x, tokens, out + r, stride);
        r += count;
    }
}

}  // namespace zipmoe
