#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "matrix.h"

namespace zipmoe {

// An expert's weights, as `Expert` has them.
struct ExpertWeights {
    PackedMatrix gate_up;
    PackedMatrix down;
};

// Which experts each of the tokens has: k numbers, and the share of each.
struct Choice {
    const int64_t* experts;
    const float* shares;
    size_t k;
};

// out[m, H]: the sum of the experts of each token of x [m, H], each times its share, added in the order of their numbers;
// the product is rounded, and then the sum. Each expert that any token has is gone through once, all of them in one go.
// `experts` are all that may be chosen; of those that are not, nothing is read.
void mixture(Matrix x, const Choice& choice, const std::vector<ExpertWeights>& experts, uint16_t* out, size_t threads);

}  // namespace zipmoe
