#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace zipmoe {

// What happens to activations between two matrices, for a few tokens at a time. All are BF16 words in rows, computed in
// FP32 and rounded where transformers' eager BF16 rounds.

// Root mean square norm (Zhang and Sennrich, 2019) of each of `rows` rows of `width`, times weight[width].
void norm(const uint16_t* x, size_t rows, size_t width, const uint16_t* weight, float epsilon, uint16_t* out);

// Rotary position embedding (Su et al., 2021), half-rotation form, in place: x is `rows` rows of `heads` heads of
// `width`, cosines and sines are [rows, width].
void rotate(uint16_t* x, size_t rows, size_t heads, size_t width, const uint16_t* cosines, const uint16_t* sines);

// The words of n sums.
void narrow(const float* sums, size_t n, uint16_t* out);

// out = silu(gate) * up, of n sums; the words of each, of the silu and of the product.
void gate(const float* gates, const float* ups, size_t n, uint16_t* out);

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
// `value_width`. Without values, they are the first value_width of each key.
struct Cache {
    uint16_t* keys;
    uint16_t* values;
    size_t page;
    size_t heads;
    size_t width;
    size_t value_width;
};

// `rows` tokens of one sequence behind the `start` that it has in the cache already, in the pages that `pages` names, in
// order.
struct Rows {
    size_t rows;
    size_t start;
    const int32_t* pages;
};

// Puts the keys and values of such tokens, one sequence's behind the other's, into the cache.
void store(const Cache& cache, const std::vector<Rows>& sequences, const uint16_t* key, const uint16_t* value);

// Causal attention of each token over those before it in its sequence and itself, all of them stored. Of `heads` heads of a
// query, each head of keys serves heads / cache.heads, in order. out has heads of cache.value_width.
void attend(const uint16_t* query, size_t heads, const Cache& cache, const std::vector<Rows>& sequences, float scale,
            uint16_t* out, size_t threads);

}  // namespace zipmoe
