#pragma once

#include <cstddef>
#include <cstdint>

namespace zipmoe {

// Heads of a token that are attended together: what they have of a position lies together, so memory is read in order.
struct Heads {
    size_t count;
    size_t shared;  // heads of the query that share one of the keys
    size_t first;   // of those that share, the first's place among them

    // Heads of the keys that these have.
    size_t kept() const { return (first + count - 1) / shared + 1; }
};

// Keys or values of a few positions, `stride` words apart, of some heads; then those that are read `next`.
struct Stretch {
    const uint16_t* words;
    size_t tokens;
    size_t stride;
    const uint16_t* next;
};

// scores[h][s] = query h times its key of position s, in FP32; scores of a head are `positions` apart.
void products(const float* queries, const Heads& heads, size_t width, const Stretch& keys, float* scores,
              size_t positions);

// Scores, rounded as they are scaled and again as shares.
void softmax(float* scores, size_t positions, float scale);

// out[h][i] += sum over s of shares[h][s] * values[s][i] of h; shares of a head are `positions` apart.
void mix(const float* shares, size_t positions, const Heads& heads, const Stretch& values, size_t width, float* out);

}  // namespace zipmoe
