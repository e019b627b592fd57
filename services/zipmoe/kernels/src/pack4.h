#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zipmoe {

// pack4: weights in 12 bits each, multiplied as they are. The sign-mantissas stay a plane of bytes in the order of the
// weights; the exponents of each chunk of a run become a part that describes itself:
//
//     [head: 64 bytes, with a base for each span] [nibbles: 64 bytes for each block of 128 weights] [escapes]
//
// A nibble is the exponent less its span's base. Byte i < 32 of a block holds the nibbles of weights i and, in its high
// half, 32 + i; byte 32 + i those of weights 64 + i and 96 + i: one shift serves 32 neighbouring weights. A weight whose
// exponent is outside [base, base + 15] has any nibble, and an escape with its exponent; escapes are sorted.
//
// The parts of a run's chunks lie one after the other, each padded to whole pages: on disk as in memory.
constexpr size_t kBlock4 = 128;
constexpr size_t kChunk4 = size_t{1} << 20;  // weights of a chunk; as of a blob
// Weights that share a base: few enough that a matrix of another scale beside them does not cost them their window.
constexpr size_t kSpan4 = size_t{1} << 16;
constexpr size_t kPage4 = 4096;

struct Head4 {
    char magic[4];
    uint32_t weights;
    uint32_t escapes;
    uint32_t unused;
    uint8_t bases[kChunk4 / kSpan4];
    uint8_t pad[32];
};
static_assert(sizeof(Head4) == 64);

// A weight's place in its chunk, and above it the exponent.
struct Escape {
    uint32_t word;

    size_t position() const { return word & 0xFFFFFF; }
    uint32_t exponent() const { return word >> 24; }
};

// The BF16 word of an exponent and a sign-mantissa.
constexpr uint16_t joined(uint32_t exponent, uint8_t sign_mantissa) {
    return static_cast<uint16_t>(((sign_mantissa & 0x80u) << 8) | (exponent << 7) | (sign_mantissa & 0x7Fu));
}

// The part of one chunk, in memory that others own.
struct Chunk4 {
    const uint8_t* nibbles;
    const uint8_t* bases;
    const Escape* escapes;
    const Escape* escapes_end;
    size_t weights;

    // Of the span of a weight of this chunk.
    uint8_t base(size_t weight) const { return bases[weight / kSpan4]; }
    // The first escape at `weight` or later.
    const Escape* escape_from(size_t weight) const;
};

// A run in memory that others own.
struct Run4 {
    const uint8_t* sign_mantissa;
    const Chunk4* chunks;  // all but the last of kChunk4 weights
};

// Bytes of the part of a chunk.
size_t size4(size_t weights, size_t escapes);

// Pack the exponents of a chunk, n <= kChunk4, into a part of at least size4(n, 0) bytes: the bytes used, or nothing if
// the escapes do not fit.
std::optional<size_t> pack4(const uint8_t* exponents, size_t n, uint8_t* part, size_t size);

// Why `part` of `size` bytes does not start with the part of a chunk; empty if it does. Then `chunk` is filled.
std::string open4(const uint8_t* part, size_t size, Chunk4& chunk);

// Why `parts` are not those of a run of `weights`; empty if they are. Then `chunks` are filled.
std::string open4(const uint8_t* parts, size_t size, size_t weights, std::vector<Chunk4>& chunks);

// The exponents of a chunk.
void exponents4(const Chunk4& chunk, uint8_t* exponents);

// The BF16 words of weights [first, first + n) of a run.
void unpack4(const Run4& run, size_t first, size_t n, uint16_t* words);

}  // namespace zipmoe
