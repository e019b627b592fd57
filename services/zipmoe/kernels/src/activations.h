#pragma once

#include <cstddef>
#include <cstdint>

namespace zipmoe {

// What happens to activations between two matrices, for a few tokens at a time. All are BF16 words in rows, computed in
// FP32 and rounded where transformers' eager BF16 rounds.

// Root mean square norm (Zhang and Sennrich, 2019) of each of `rows` rows of `width`, times weight[width].
void norm(const uint16_t* x, size_t rows, size_t width, const uint16_t* weight, float epsilon, uint16_t* out);

// Rotary position embedding (Su et al., 2021), half-rotation form, in place: x is `rows` rows of `heads` heads of
// `width`, cosines and sines are [rows, width].
void rotate(uint16_t* x, size_t rows, size_t heads, size_t width, const uint16_t* cosines, const uint16_t* sines);

// total += other, of n words.
void add(uint16_t* total, const uint16_t* other, size_t n);

// total[rows[i]] += share[i] * x[i], for `count` rows of `width`; the product is rounded, then the sum.
void add_weighted(uint16_t* total, size_t width, const int64_t* rows, size_t count, const uint16_t* x,
                  const float* share);

// For each row of `experts` router logits, the k most likely experts, best first, and their shares of a softmax, rounded
// to BF16: of k's sum, if they are to be normalised, else of all.
void route(const uint16_t* logits, size_t rows, size_t experts, size_t k, bool normalise, int64_t* chosen,
           float* shares);

// Keys and values of `positions` tokens, each `heads` heads of `width`.
struct Seen {
    const uint16_t* keys;
    const uint16_t* values;
    size_t positions;
    size_t heads;
    size_t width;
};

// Causal attention of `rows` tokens, the last ones of those seen, each `heads` heads of seen.width. A head of keys may
// serve several of the queries', in order. out is like query.
void attend(const uint16_t* query, size_t rows, size_t heads, const Seen& seen, float scale, uint16_t* out,
            size_t threads);

}  // namespace zipmoe
