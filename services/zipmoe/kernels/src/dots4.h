#pragma once

#include "pack4.h"

namespace zipmoe {

// `dots` of rows whose weights are packed: `rows` rows of `columns` weights from weight `first` of the run on. The same
// bits as `dots` of the words, escapes and all.
void dots4(const Run4& run, size_t first, size_t rows, size_t columns, const float* x, size_t tokens, float* out,
           size_t stride);

}  // namespace zipmoe
