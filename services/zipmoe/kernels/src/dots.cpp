#include "dots.h"

#include "sums.h"

namespace zipmoe {
namespace {

template <size_t kRows, size_t kTokens>
ZIPMOE_INLINE void block(const uint16_t* weight, size_t columns, const float* x, float* out, size_t stride) {
    const size_t width = whole_pairs(columns);
    Sums<kRows, kTokens> sums = {};
    size_t k = 0;
    for (; k + kPair <= columns; k += kPair) {
        Pairs words[kRows];
#pragma GCC unroll 8
        for (size_t r = 0; r < kRows; ++r) {
            prefetch(weight + (r + kRows) * columns + k);
            std::memcpy(&words[r], weight + r * columns + k, sizeof words[r]);
        }
        add(sums, words, x + k, width);
    }
    if (k < columns) {
        Pairs words[kRows] = {};
        for (size_t r = 0; r < kRows; ++r) std::memcpy(&words[r], weight + r * columns + k, 2 * (columns - k));
        add(sums, words, x + k, width);
    }
    store(sums, out, stride);
}

template <size_t kMost>
ZIPMOE_INLINE void blocks(const uint16_t* weight, size_t rows, size_t columns, const float* x, size_t tokens,
                          float* out, size_t stride) {
    for_blocks<kMost>(rows, tokens, [&]<size_t kRows, size_t kTokens>(size_t r, size_t t) __attribute__((always_inline)) {
        block<kRows, kTokens>(weight + r * columns, columns, x + t * whole_pairs(columns), out + t * stride + r,
                              stride);
    });
}

using Dots = void(const uint16_t*, size_t, size_t, const float*, size_t, float*, size_t);

#define ZIPMOE_DOTS(name, most)                                                                                \
    void name(const uint16_t* weight, size_t rows, size_t columns, const float* x, size_t tokens, float* out, \
              size_t stride) {                                                                                 \
        blocks<most>(weight, rows, columns, x, tokens, out, stride);                                           \
    }

ZIPMOE_DOTS(dots_plain, kFewSums)
#if ZIPMOE_LEVELS
ZIPMOE_AVX512 ZIPMOE_DOTS(dots_avx512, kManySums)
ZIPMOE_AVX2 ZIPMOE_DOTS(dots_avx2, kFewSums)
#endif

Dots* fastest() {
#if ZIPMOE_LEVELS
    if (__builtin_cpu_supports("x86-64-v4")) return dots_avx512;
    if (__builtin_cpu_supports("x86-64-v3")) return dots_avx2;
#endif
    return dots_plain;
}

}  // namespace

void dots(const uint16_t* weight, size_t rows, size_t columns, const float* x, size_t tokens, float* out,
          size_t stride) {
    static Dots* const best = fastest();
    best(weight, rows, columns, x, tokens, out, stride);
}

}  // namespace zipmoe
