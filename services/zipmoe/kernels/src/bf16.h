#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "targets.h"

namespace zipmoe {

ZIPMOE_INLINE float widen(uint16_t word) { return std::bit_cast<float>(uint32_t{word} << 16); }

// To nearest, ties to even, as torch rounds; every NaN becomes the same quiet NaN.
ZIPMOE_INLINE uint16_t narrow(float value) {
    if (std::isnan(value)) return 0x7FC0;
    const auto bits = std::bit_cast<uint32_t>(value);
    return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// The value that `value` has once it was stored as BF16.
ZIPMOE_INLINE float rounded(float value) { return widen(narrow(value)); }

}  // namespace zipmoe
