#pragma once

#include "packed.h"

namespace zipmoe {

// `dots` of rows whose weights are packed: `rows` rows of `columns` weights from weight `first` of the run on. The same
// bits as `dots` of the words, whatever the form.
void dots_packed(const Run& run, size_t first, size_t rows, size_t columns, const void* x, size_t tokens, float* out,
                 size_t stride);

}  // namespace zipmoe
