#pragma once

#include <bit>
#include <cstdint>

#include "targets.h"

namespace zipmoe {

ZIPMOE_INLINE float widen(uint16_t word) { return std::bit_cast<float>(uint32_t{word} << 16); }

// All bits of a mask if the size of a number is above `most`, else none: sizes are those of FP32 without the sign. In
// whole numbers, for around a branch the compiler takes a number at a time, not a register of them.
ZIPMOE_INLINE uint32_t above(uint32_t size, uint32_t most) {
    return static_cast<uint32_t>(static_cast<int32_t>(most - size) >> 31);
}
constexpr uint32_t kWithoutSign = 0x7FFFFFFF, kInfinity = 0x7F800000;

// To nearest, ties to even, as torch rounds; every NaN becomes the same quiet NaN.
ZIPMOE_INLINE uint16_t narrow(float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const uint32_t near = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, nan = above(bits & kWithoutSign, kInfinity);
    return static_cast<uint16_t>((near & ~nan) | (0x7FC0 & nan));
}

// The value that `value` has once it was stored as BF16.
ZIPMOE_INLINE float rounded(float value) { return widen(narrow(value)); }

}  // namespace zipmoe
