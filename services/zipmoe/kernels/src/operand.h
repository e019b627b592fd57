#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace zipmoe {

// Numbers of a row of activations: those behind the last column are zero.
constexpr size_t whole_groups(size_t columns) { return (columns + 63) / 64 * 64; }

// Activations as this machine multiplies with them: FP32, or BF16 words where the processor takes those; in the order of
// the words that come out of a level's registers. Rows begin cache lines.
class Operand {
public:
    Operand(size_t tokens, size_t columns);

    // BF16 words for columns first, ..., first + count - 1 of a token; first is a multiple of 8.
    void put(size_t token, size_t first, const uint16_t* words, size_t count);

    // Rows from a token on, as `dots` takes them.
    const void* from(size_t token) const { return &lines_[token * stride_]; }

private:
    struct alignas(64) Line {
        uint8_t bytes[64];
    };
    size_t stride_;  // lines of a row
    std::unique_ptr<Line[]> lines_;
};

}  // namespace zipmoe
