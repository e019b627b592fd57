#include "dots.h"

#include <array>

#include "sums.h"

namespace zipmoe {
namespace {

template <typename Level, size_t kRows, size_t kTokens>
ZIPMOE_INLINE void block(const uint16_t* weight, size_t columns, const float* x, float* out, size_t stride) {
    const size_t width = whole_groups(columns);
    Sums<Level, kRows, kTokens> sums = {};
    typename Level::Group words[kRows];
    size_t k = 0;
    for (; k + kGroup <= columns; k += kGroup) {
        repeat<kRows>([&](auto r) ZIPMOE_INLINED {
            prefetch(weight + (r + kRows) * columns + k);
            Level::load(weight + r * columns + k, words[r]);
        });
        add<Level, kRows, kTokens>(sums, words, x + k, width);
    }
    if (k < columns) {
        repeat<kRows>([&](auto r) ZIPMOE_INLINED {
            uint16_t last[kGroup] = {};
            std::memcpy(last, weight + r * columns + k, 2 * (columns - k));
            Level::load(last, words[r]);
        });
        add<Level, kRows, kTokens>(sums, words, x + k, width);
    }
    store<Level, kRows, kTokens>(sums, out, stride);
}

struct Dots {
    template <typename Level>
    ZIPMOE_INLINE static void run(const uint16_t* weight, size_t rows, size_t columns, const float* x, size_t tokens,
                                  float* out, size_t stride) {
        for_blocks<Level::kSums>(
            rows, tokens, [&]<size_t kRows, size_t kTokens>(size_t r, size_t t) ZIPMOE_INLINED {
                block<Level, kRows, kTokens>(weight + r * columns, columns, x + t * whole_groups(columns),
                                             out + t * stride + r, stride);
            });
    }
};

struct Lanes {
    template <typename Level>
    ZIPMOE_INLINE static void run(uint8_t* places) {
        for (size_t k = 0; k < kGroup; ++k) {
            const size_t word = Level::word_of(k), in = word % Level::kWords;
            places[k] = static_cast<uint8_t>(word - in + in % 2 * Level::kLanes + in / 2);
        }
    }
};

}  // namespace

const uint8_t* lanes() {
    static const auto table = [] {
        std::array<uint8_t, kGroup> places;
        fastest<Lanes>(static_cast<void (*)(uint8_t*)>(nullptr))(places.data());
        return places;
    }();
    return table.data();
}

void dots(const uint16_t* weight, size_t rows, size_t columns, const float* x, size_t tokens, float* out,
          size_t stride) {
    static const auto best = fastest<Dots>(dots);
    best(weight, rows, columns, x, tokens, out, stride);
}

}  // namespace zipmoe
