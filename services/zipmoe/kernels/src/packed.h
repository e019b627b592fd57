#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zipmoe {

// Weights packed in 11 or 12 bits each, multiplied as they are. The sign-mantissas stay a plane of bytes in the order of
// the weights; the exponents of each chunk of a run become a part that describes itself:
//
//     [head: 64 bytes, with a base for each span] [the first escape of each page, u32 | pad to 64] [codes] [escapes]
//
// A code is the exponent less its span's base, of a window of 8 or 16 exponents, 3 or 4 bits; none is spent on a mark.
// See Form3 and Form4 for how they lie. An escape is an exponent that is written over what its code says, so that one in
// the window does no harm: one stands at the first weight of each page, where reading may begin; wherever the distance
// to the escape before would not fit a byte; and one behind the end, where reading ends.
//
// The parts of a run's chunks lie one after the other, each padded to whole file pages: on disk as in memory.
constexpr size_t kChunk = size_t{1} << 20;  // weights of a chunk; as of a blob
// Weights that share a base: few enough that a matrix of another scale beside them does not cost them their window.
constexpr size_t kSpan = size_t{1} << 16;
constexpr size_t kPage = size_t{1} << 12;
constexpr size_t kFilePage = 4096;

struct Head {
    char magic[4];
    uint32_t weights;
    uint32_t escapes;
    uint32_t bits;
    uint8_t bases[kChunk / kSpan];
    uint8_t pad[32];
};
static_assert(sizeof(Head) == 64);

constexpr size_t kFarthest = 255;  // that an escape is from the one before

struct Escape {
    uint8_t distance;  // in weights, from the escape before
    uint8_t turned;    // the exponent, as level.h has it
};

// A block of 64 weights is 32 bytes: byte i holds the codes of weights i and, in its high half, 32 + i.
struct Form4 {
    static constexpr uint32_t kBits = 4;
    static constexpr size_t kWeights = 64, kBytes = 32, kWindow = 16;
};

// A block of 512 weights is three lines of 64 bytes, A, B, C; byte i of them holds the codes of weights i, 64 + i, ...,
// 448 + i, which are groups 0 to 7:
//
//     A: 0 | 1 << 3 | (6 & 3) << 6      B: 2 | 3 << 3 | (6 >> 2) << 6 | (7 >> 2) << 7      C: 4 | 5 << 3 | (7 & 3) << 6
struct Form3 {
    static constexpr uint32_t kBits = 3;
    static constexpr size_t kWeights = 512, kBytes = 192, kWindow = 8;
};

// The part of one chunk, in memory that others own.
struct Chunk {
    const uint8_t* codes;
    const uint8_t* bases;
    const uint32_t* pages;
    const Escape* escapes;
    size_t weights;
    uint32_t bits;
};

// A run in memory that others own.
struct Run {
    const uint8_t* sign_mantissa;
    const Chunk* chunks;  // all but the last of kChunk weights
};

// Bytes that a part of so many weights never exceeds.
size_t most_bytes(uint32_t bits, size_t weights);

// Pack the exponents of a chunk, n <= kChunk, in codes of 3 or 4 bits: the bytes of `part` used, or nothing if its
// `size` has no room for them.
std::optional<size_t> pack(uint32_t bits, const uint8_t* exponents, size_t n, uint8_t* part, size_t size);

// Why `part` of `size` bytes does not start with the part of a chunk; empty if it does. Then `chunk` is filled, and the
// bytes of the part are in `used`.
std::string open(const uint8_t* part, size_t size, Chunk& chunk, size_t& used);

// Why `parts` are not those of a run of `weights`; empty if they are. Then `chunks` are filled.
std::string open(const uint8_t* parts, size_t size, size_t weights, std::vector<Chunk>& chunks);

// The exponents of a chunk.
void exponents_of(const Chunk& chunk, uint8_t* exponents);

// The BF16 words of weights [first, first + n) of a run.
void unpack(const Run& run, size_t first, size_t n, uint16_t* words);

}  // namespace zipmoe
