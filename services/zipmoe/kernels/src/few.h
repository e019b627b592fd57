#pragma once

#include <algorithm>

#include "operand.h"
#include "sums.h"

namespace zipmoe {

// The dots of the rows from `row` on that lie side by side, with few tokens. Words are in registers, and nowhere else.
template <typename Level, size_t kTokens, typename Source>
ZIPMOE_INLINE void rows_of_few(const Source& source, size_t row, size_t columns, const typename Level::Activation* x,
                               float* out, size_t stride) {
    constexpr size_t kGroup = Level::kGroup, kStep = std::max(kGroup, kLineOfBytes), kRows = Level::side_by_side(kTokens);
    const size_t width = whole_groups(columns);
    Chains<Level, kRows, kTokens> sums = {};
    const auto step = [&](size_t k, auto&& load) ZIPMOE_INLINED {
        constexpr size_t kHeld = std::min(Level::kHeld, kRows);
        repeat<kRows / kHeld>([&](auto part) ZIPMOE_INLINED {
            typename Level::Group groups[kHeld];
            repeat<kHeld>([&](auto r) ZIPMOE_INLINED { load(row + part * kHeld + r, groups[r]); });
            add_groups<Level, kRows, kTokens>(sums, part * kHeld, groups, x + k, width);
        });
    };
    const auto whole = [&](size_t k) ZIPMOE_INLINED {
        step(k, [&](size_t r, typename Level::Group& group) ZIPMOE_INLINED { source.load(r, k, group); });
    };
    for (size_t first = 0; first < columns; first += kDepth<Level>) {
        const size_t end = std::min(first + kDepth<Level>, columns);
        size_t k = first;
        for (; k + kStep <= end; k += kStep) {
            repeat<kRows>([&](auto i) ZIPMOE_INLINED {
                source.soon.template ask<Level>(row * columns + kRows * k + i * kStep);
            });
            repeat<kStep / kGroup>([&](auto i) ZIPMOE_INLINED { whole(k + i * kGroup); });
        }
        for (; k + kGroup <= end; k += kGroup) whole(k);
        if (k < end) {
            step(k, [&](size_t r, typename Level::Group& group) ZIPMOE_INLINED { source.last(r, k, end - k, group); });
        }
        fold<Level, kRows, kTokens>(sums);
    }
    repeat<kRows>([&](auto r) ZIPMOE_INLINED {
        repeat<kTokens>([&](auto t) ZIPMOE_INLINED {
            const typename Level::Floats sum = sums[0][r][t];
            out[t * stride + row + r] = total<Level::kLanes>(sum);
        });
    });
}

}  // namespace zipmoe
