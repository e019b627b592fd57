#pragma once

#include <cstddef>
#include <cstdint>

namespace zipmoe {

constexpr size_t kLanes = 16;
constexpr size_t kPair = 2 * kLanes;  // weights that one step takes

constexpr size_t whole_pairs(size_t columns) { return (columns + kPair - 1) / kPair * kPair; }

// Where column k of an activation row lies. A step loads 16 32-bit words, each two weights: the low halves are the even
// columns, the high halves the odd ones, and neither needs a shuffle. So of every 32 columns the even ones come first.
constexpr size_t lane_of(size_t k) { return k / kPair * kPair + (k % 2) * kLanes + k % kPair / 2; }

// out[t * stride + r] = sum over k of x[t][k] * weight[r][k] for `rows` rows of `columns` BF16 weights and `tokens`
// activation rows of whole_pairs(columns) floats in lane order, zero behind the last column. FP32 accumulation in an
// order that depends on `columns` alone: not on rows, tokens, or who computes which.
void dots(const uint16_t* weight, size_t rows, size_t columns, const float* x, size_t tokens, float* out,
          size_t stride);

}  // namespace zipmoe
