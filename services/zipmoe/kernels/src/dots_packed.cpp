#include "dots_packed.h"

#include "band.h"
#include "expand.h"

namespace zipmoe {
namespace {

// Rows of weights, from their planes.
template <typename Level>
struct Planes {
    const uint8_t* sign_mantissa;
    const uint8_t* exponents;
    size_t columns;
    // Codes may be asked for as those before them are expanded.
    static constexpr size_t kStreams = Level::kAsksAsItExpands ? 1 : 2;
    Soon<kStreams> soon;

    ZIPMOE_INLINE void load(size_t r, size_t k, typename Level::Group& group) const {
        Level::join(sign_mantissa + r * columns + k, exponents + r * columns + k, group);
    }
    ZIPMOE_INLINE void last(size_t r, size_t k, size_t count, typename Level::Group& group) const {
        uint8_t s[Level::kGroup] = {}, e[Level::kGroup] = {};
        std::memcpy(s, sign_mantissa + r * columns + k, count);
        std::memcpy(e, exponents + r * columns + k, count);
        Level::join(s, e, group);
    }
};

struct DotsPacked {
    template <typename Level>
    ZIPMOE_INLINE static void run(const Run& run, size_t first, size_t rows, size_t columns, const void* x,
                                  size_t tokens, float* out, size_t stride) {
        Reader reader(run, first);
        for (size_t r = 0; r < rows; r += kBand) {
            const size_t count = std::min(kBand, rows - r);
            const uint8_t* const exponents = reader.next<Level>(count * columns);
            const uint8_t* const sign_mantissa = run.sign_mantissa + first + r * columns;
            Planes<Level> planes{sign_mantissa, exponents, columns, {{sign_mantissa + count * columns}, {8}}};
            if constexpr (planes.kStreams > 1) planes.soon.streams[1] = reader.codes(), planes.soon.bits[1] = reader.bits();
            band<Level>(planes, count, columns, x, tokens, out + r, stride);
        }
    }
};

}  // namespace

void dots_packed(const Run& run, size_t first, size_t rows, size_t columns, const void* x, size_t tokens, float* out,
                 size_t stride) {
    static const auto best = fastest<DotsPacked>(dots_packed);
    best(run, first, rows, columns, x, tokens, out, stride);
}

}  // namespace zipmoe
