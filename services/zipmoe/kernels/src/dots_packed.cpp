#include "dots_packed.h"

#include <algorithm>

#include "dots.h"
#include "expand.h"
#include "sums.h"

namespace zipmoe {
namespace {

// Rows whose exponents are expanded together: they and the activations stay in the nearest cache.
constexpr size_t kBand = 4;

// Rows of `columns` weights, from their planes.
template <typename Level, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void block(const uint8_t* sign_mantissa, const uint8_t* exponents, size_t columns, const float* x,
                         float* out, size_t stride) {
    const size_t width = whole_groups(columns);
    Sums<Level, kRows, kTokens> sums = {};
    size_t k = 0;
    typename Level::Group words[kRows];
    for (; k + 2 * kGroup <= columns; k += 2 * kGroup) {
        repeat<kRows>([&](auto r) ZIPMOE_INLINED {
            prefetch(sign_mantissa + kBand * columns + kRows * k + r * 2 * kGroup);
        });
        repeat<2>([&](auto half) ZIPMOE_INLINED {
            const size_t at = k + half * kGroup;
            repeat<kRows>([&](auto r) ZIPMOE_INLINED {
                Level::join(sign_mantissa + r * columns + at, exponents + r * columns + at, words[r]);
            });
            add<Level, kRows, kTokens>(sums, words, x + at, width);
        });
    }
    for (; k < columns; k += kGroup) {
        repeat<kRows>([&](auto r) ZIPMOE_INLINED {
            uint8_t s[kGroup] = {}, e[kGroup] = {};
            const size_t count = std::min(kGroup, columns - k);
            std::memcpy(s, sign_mantissa + r * columns + k, count);
            std::memcpy(e, exponents + r * columns + k, count);
            Level::join(s, e, words[r]);
        });
        add<Level, kRows, kTokens>(sums, words, x + k, width);
    }
    store<Level, kRows, kTokens>(sums, out, stride);
}

struct DotsPacked {
    template <typename Level>
    ZIPMOE_INLINE static void run(const Run& run, size_t first, size_t rows, size_t columns, const float* x,
                                  size_t tokens, float* out, size_t stride) {
        Reader reader(run, first);
        for (size_t band = 0; band < rows; band += kBand) {
            const size_t count = std::min(kBand, rows - band);
            const uint8_t* const sign_mantissa = run.sign_mantissa + first + band * columns;
            const uint8_t* const exponents = reader.next<Level>(count * columns);
            for_blocks<Level::kSums>(
                count, tokens, [&]<size_t kRows, size_t kTokens>(size_t r, size_t t) ZIPMOE_INLINED {
                    block<Level, kRows, kTokens>(sign_mantissa + r * columns, exponents + r * columns, columns,
                                                 x + t * whole_groups(columns), out + t * stride + band + r, stride);
                });
        }
    }
};

}  // namespace

void dots_packed(const Run& run, size_t first, size_t rows, size_t columns, const float* x, size_t tokens, float* out,
                 size_t stride) {
    static const auto best = fastest<DotsPacked>(dots_packed);
    best(run, first, rows, columns, x, tokens, out, stride);
}

}  // namespace zipmoe
