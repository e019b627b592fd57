#include "planes.h"

#include <cstring>

#include "targets.h"

namespace zipmoe {
namespace {

constexpr size_t kBlock = 32;
typedef uint8_t Bytes __attribute__((vector_size(kBlock)));
typedef uint16_t Words __attribute__((vector_size(2 * kBlock)));

}  // namespace

ZIPMOE_CLONES
void split(const uint8_t* words, uint8_t* exponents, uint8_t* sign_mantissa, size_t n) {
    size_t i = 0;
    for (; i + kBlock <= n; i += kBlock) {
        Words u;
        std::memcpy(&u, words + 2 * i, sizeof u);
        const Bytes e = __builtin_convertvector((u >> 7) & 0xFF, Bytes);
        const Bytes sm = __builtin_convertvector(((u >> 8) & 0x80) | (u & 0x7F), Bytes);
        std::memcpy(exponents + i, &e, sizeof e);
        std::memcpy(sign_mantissa + i, &sm, sizeof sm);
    }
    for (; i < n; ++i) {
        uint16_t u;
        std::memcpy(&u, words + 2 * i, sizeof u);
        exponents[i] = static_cast<uint8_t>(u >> 7);
        sign_mantissa[i] = static_cast<uint8_t>(((u >> 8) & 0x80) | (u & 0x7F));
    }
}

// Why merging in place is safe. Let the words start at W and the sign-mantissa plane at S >= W + n. A step takes the
// block [i, i + b) with i + b <= n: it loads S+i .. S+i+b, and only then stores W+2i .. W+2(i+b). The bytes still to
// be read start at S+i+b >= W+n+i+b, and the store ends at W+2(i+b) <= W+n+i+b, because i + b <= n. So a store never
// reaches a byte that is still to be read, for any block size, also in the tail. It does reach bytes already read:
// no block may be loaded twice, hence a scalar tail and not an overlapping last vector. `merge` of ascending chunks is
// the same sequence of steps, hence safe too.
ZIPMOE_CLONES
void merge(const uint8_t* exponents, const uint8_t* sign_mantissa, uint8_t* words, size_t n) {
    size_t i = 0;
    for (; i + kBlock <= n; i += kBlock) {
        Bytes e, sm;
        std::memcpy(&e, exponents + i, sizeof e);
        std::memcpy(&sm, sign_mantissa + i, sizeof sm);
        const Words s = __builtin_convertvector(sm, Words);
        const Words u = ((s & 0x80) << 8) | (__builtin_convertvector(e, Words) << 7) | (s & 0x7F);
        std::memcpy(words + 2 * i, &u, sizeof u);
    }
    for (; i < n; ++i) {
        const unsigned s = sign_mantissa[i];
        const auto u = static_cast<uint16_t>(((s & 0x80u) << 8) | (unsigned{exponents[i]} << 7) | (s & 0x7Fu));
        std::memcpy(words + 2 * i, &u, sizeof u);
    }
}

}  // namespace zipmoe
