#pragma once

#include <cstddef>
#include <cstdint>

namespace zipmoe {

constexpr size_t whole_groups(size_t columns) { return (columns + 31) / 32 * 32; }

// Where column k < 32 of each 32 columns of an activation row lies. A step loads a register of 32-bit words, each two
// weights: the low halves are the even columns, the high halves the odd ones, and neither needs a shuffle. So for each
// register the even columns come first. A table of 32, which depends on the machine.
const uint8_t* lanes();

// out[t * stride + r] = sum over k of x[t][k] * weight[r][k] for `rows` rows of `columns` BF16 weights and `tokens`
// activation rows of whole_groups(columns) floats in the order of `lanes`, zero behind the last column. FP32
// accumulation in an order that depends on `columns` and the machine alone: not on rows, tokens, or who computes which.
void dots(const uint16_t* weight, size_t rows, size_t columns, const float* x, size_t tokens, float* out,
          size_t stride);

}  // namespace zipmoe
