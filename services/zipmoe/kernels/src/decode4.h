#pragma once

#include <cstring>

#include "pack4.h"
#include "targets.h"

namespace zipmoe {

typedef uint8_t Bytes32 __attribute__((vector_size(kGroup4)));
typedef uint16_t Words32 __attribute__((vector_size(2 * kGroup4)));

// How a nibble becomes the exponent's place in a word: by arithmetic, or where a table fits a register by looking up.
struct Adding {
    Words32 base;
    ZIPMOE_INLINE explicit Adding(uint16_t of) : base(Words32{} + of) {}

    template <size_t kGroup>
    ZIPMOE_INLINE void exponents(const Words32& nibbles, Words32& out) const {
        constexpr int kShift = 7 - 4 * int{kGroup};
        if constexpr (kShift > 0) out = nibbles << kShift;
        if constexpr (kShift < 0) out = nibbles >> -kShift;
        out = (out & 0x780) + base;
    }
    ZIPMOE_INLINE static void widened(const uint8_t* bytes, Words32& out) {
        Bytes32 narrow;
        std::memcpy(&narrow, bytes, sizeof narrow);
        out = __builtin_convertvector(narrow, Words32);
    }
};

#if ZIPMOE_LEVELS
// For AVX-512 alone: a permutation of 32 words looks at the low five bits of an index, so the table holds every
// exponent twice and nothing needs a mask. Both instructions are written out, because the compiler's own choice for
// each is several slower ones, and an intrinsic may not be inlined through helpers that serve every level.
struct LookingUp {
    Words32 table;
    ZIPMOE_INLINE explicit LookingUp(uint16_t base) {
        for (unsigned i = 0; i < kGroup4; ++i) table[i] = static_cast<uint16_t>(base + (i % 16 << 7));
    }

    template <size_t kGroup>
    ZIPMOE_INLINE void exponents(const Words32& nibbles, Words32& out) const {
        const Words32 index = nibbles >> (4 * kGroup);
        asm("vpermw %1, %2, %0" : "=v"(out) : "v"(table), "v"(index));
    }
    ZIPMOE_INLINE static void widened(const uint8_t* bytes, Words32& out) {
        asm("vpmovzxbw %1, %0" : "=v"(out) : "m"(*reinterpret_cast<const Bytes32*>(bytes)));
    }
};
#endif

// The words of 32 weights: group `kGroup` of the block whose nibbles are at `block`.
template <size_t kGroup, typename Exponents>
ZIPMOE_INLINE void decode4(const uint8_t* sign_mantissa, const uint8_t* block, const Exponents& of, void* words) {
    Words32 s, e, nibbles;
    std::memcpy(&nibbles, block, sizeof nibbles);
    of.template exponents<kGroup>(nibbles, e);
    of.widened(sign_mantissa, s);
    const Words32 decoded = ((s * 0x0101) & 0x807F) | e;
    std::memcpy(words, &decoded, sizeof decoded);
}

}  // namespace zipmoe
