#pragma once

#include "few.h"
#include "many.h"

namespace zipmoe {

// A few rows of weights, in some form:
//
//     soon                          where the rows lie that come after these
//     load(row, k, group)           the words of a group of columns from k on
//     last(row, k, count, group)    the words of the last columns, fewer than a group, and zeros behind them

// The dots of up to kBand rows, as `dots` has them.
template <typename Level, typename Source>
ZIPMOE_INLINE void band(const Source& source, size_t rows, size_t columns, const void* activations, size_t tokens,
                        float* out, size_t stride) {
    const auto* const x = static_cast<const typename Level::Activation*>(activations);
    if (rows < kBand || tokens > Level::kFew) return band_of_many<Level>(source, rows, columns, x, tokens, out, stride);
    repeat<Level::kFew>([&](auto less) ZIPMOE_INLINED {
        if (tokens != less + 1) return;
        for (size_t row = 0; row < kBand; row += Level::side_by_side(less + 1))
            rows_of_few<Level, less + 1>(source, row, columns, x, out, stride);
    });
}

}  // namespace zipmoe
