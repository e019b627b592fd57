#pragma once

#include <bit>
#include <cstdint>

#include "bf16.h"
#include "targets.h"

namespace zipmoe {

// e to the power of x, but for a few units in the last place: 2^n times a polynomial of what is left of x, as in Cephes
// (Moshier, 1992). In operations that there are for whole registers, where the library's takes a number at a time.
ZIPMOE_INLINE float exponential(float x) {
    constexpr float kShift = 0x1.8p23f;  // added to a number, leaves whole ones in its low bits
    // No larger than 104, on either side; a NaN stays one.
    constexpr auto kMost = std::bit_cast<uint32_t>(104.0f);
    const auto bits = std::bit_cast<uint32_t>(x);
    const uint32_t size = bits & kWithoutSign, beyond = above(size, kMost) & ~above(size, kInfinity);
    const auto within = std::bit_cast<float>((bits & ~(kWithoutSign & beyond)) | (kMost & beyond));
    const float shifted = within * 1.44269504f + kShift;
    const int32_t n = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kShift);
    const float whole = shifted - kShift, left = within - whole * 0.693359375f + whole * 2.12194440e-4f;
    float series = 1.9875691500e-4f;  // written out, for around a loop the compiler takes a number at a time
    series = series * left + 1.3981999507e-3f;
    series = series * left + 8.3334519073e-3f;
    series = series * left + 4.1665795894e-2f;
    series = series * left + 1.6666665459e-1f;
    series = series * left + 5.0000001201e-1f;
    // In two steps, for one of them has no room for the smallest and largest.
    const auto power = [](int32_t of) ZIPMOE_INLINED { return std::bit_cast<float>((of + 127) << 23); };
    return (series * left * left + left + 1.0f) * power(n >> 1) * power(n - (n >> 1));
}

}  // namespace zipmoe
