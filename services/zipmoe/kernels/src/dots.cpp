#include "dots.h"

#include "band.h"

namespace zipmoe {
namespace {

// Rows of words.
template <typename Level>
struct Words {
    const uint16_t* weight;
    size_t columns;
    // Both streams are the same: a line of one, and the line behind it.
    Soon<2> soon;

    ZIPMOE_INLINE Words(const uint16_t* weight, size_t columns) : weight(weight), columns(columns) {
        const auto* const next = reinterpret_cast<const uint8_t*>(weight + kBand * columns);
        soon = {{next, next + 64}, {16, 16}};
    }
    ZIPMOE_INLINE void load(size_t r, size_t k, typename Level::Group& group) const {
        Level::load(weight + r * columns + k, group);
    }
    ZIPMOE_INLINE void last(size_t r, size_t k, size_t count, typename Level::Group& group) const {
        uint16_t words[Level::kGroup] = {};
        std::memcpy(words, weight + r * columns + k, 2 * count);
        Level::load(words, group);
    }
};

struct Dots {
    template <typename Level>
    ZIPMOE_INLINE static void run(const uint16_t* weight, size_t rows, size_t columns, const void* x, size_t tokens,
                                  float* out, size_t stride) {
        for (size_t r = 0; r < rows; r += kBand)
            band<Level>(Words<Level>(weight + r * columns, columns), std::min(kBand, rows - r), columns, x, tokens,
                        out + r, stride);
    }
};

}  // namespace

void dots(const uint16_t* weight, size_t rows, size_t columns, const void* x, size_t tokens, float* out,
          size_t stride) {
    static const auto best = fastest<Dots>(dots);
    best(weight, rows, columns, x, tokens, out, stride);
}

}  // namespace zipmoe
