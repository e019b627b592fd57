#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "targets.h"

namespace zipmoe {

// e to the power of x, but for a few units in the last place: 2^n times a polynomial of what is left of x, as in Cephes
// (Moshier, 1992). In operations that there are for whole registers, where the library's takes a number at a time.
ZIPMOE_INLINE float exponential(float x) {
    constexpr float kShift = 0x1.8p23f;  // added to a number, leaves whole ones in its low bits
    const float within = std::min(std::max(x, -104.0f), 104.0f), shifted = within * 1.44269504f + kShift;
    const int32_t n = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kShift);
    const float whole = shifted - kShift, left = within - whole * 0.693359375f + whole * 2.12194440e-4f;
    float series = 1.9875691500e-4f;
    for (const float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        series = series * left + next;
    // In two steps, for one of them has no room for the smallest and largest.
    const auto power = [](int32_t of) ZIPMOE_INLINED { return std::bit_cast<float>((of + 127) << 23); };
    return (series * left * left + left + 1.0f) * power(n >> 1) * power(n - (n >> 1));
}

}  // namespace zipmoe
