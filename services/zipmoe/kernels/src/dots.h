#pragma once

#include <cstddef>
#include <cstdint>

namespace zipmoe {

// out[t * stride + r] = sum over k of x[t][k] * weight[r][k] for `rows` rows of `columns` BF16 weights and `tokens` rows of
// an operand. FP32 accumulation in an order that depends on `columns` and the machine alone: not on rows, tokens, or who
// computes which.
void dots(const uint16_t* weight, size_t rows, size_t columns, const void* x, size_t tokens, float* out, size_t stride);

}  // namespace zipmoe
