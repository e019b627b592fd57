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

// Keys and values of many sequences, in pages of `page` tokens: a token's are `heads` heads of `width`, its values' of
// `value_width`. Those of one sequence lie in the pages that `pages` names, in order. Without values, they are the first
// value_width of each key.
struct Cache {
    uint16_t* keys;
    uint16_t* values;
    const int32_t* pages;
    size_t page;
    size_t heads;
    size_t width;
    size_t value_width;
};

// Puts the keys and values of `rows` tokens behind those of the `start` that the sequence has there already.
void store(const Cache& cache, size_t start, size_t rows, const uint16_t* key, const uint16_t* value);

// Causal attention of `rows` tokens over those before them and themselves, all of them stored, the first at `start`. Of
// `heads` heads of a query, each head of keys serves heads / cache.heads, in order. out has heads of cache.value_width.
void attend(const uint16_t* query, size_t rows, size_t heads, const Cache& cache, size_t start, float scale,
            uint16_t* out, size_t threads);

}  // namespace zipmoe
