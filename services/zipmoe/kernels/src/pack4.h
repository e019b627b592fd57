#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace zipmoe {

// pack4: a run of weights in 12 bits each, multiplied as it is. The sign-mantissas stay a plane of bytes in the order
// of the weights; the exponents become a part that describes itself:
//
//     [head | a base for each span | pad to 64] [nibbles: 64 bytes for each block of 128 weights] [escapes]
//
// A nibble is the exponent less its span's base. A block is 32 words of 16 bits: word i holds, from its low end, the
// nibbles of weights i, 32 + i, 64 + i, 96 + i of the block, so that one shift serves 32 neighbouring weights. A weight
// whose exponent is outside [base, base + 15] has any nibble, and an escape with its exponent; escapes are sorted.
constexpr size_t kBlock4 = 128;
constexpr size_t kGroup4 = 32;
constexpr size_t kChunk4 = size_t{1} << 20;  // weights that are appended at a time; as a chunk of a blob
// Weights that share a base: few enough that a matrix of another scale beside them does not cost them their window.
constexpr size_t kSpan4 = size_t{1} << 16;

struct Head4 {
    char magic[4];
    uint32_t escapes;
    uint64_t weights;  // of the whole run
    uint64_t packed;   // of them so far: chunks are appended
};

struct Escape {
    uint32_t position;  // in the run
    uint32_t exponent;
};

// A run in memory that others own.
struct Run4 {
    const uint8_t* sign_mantissa;
    const uint8_t* nibbles;
    const uint8_t* bases;
    const Escape* escapes;
    const Escape* escapes_end;

    uint16_t base(size_t weight) const { return static_cast<uint16_t>(bases[weight / kSpan4] << 7); }
    // The first escape at `weight` or later.
    const Escape* escape_from(size_t weight) const;
};

// Bytes of the exponent part of a run.
size_t size4(size_t weights, size_t escapes);

// Append the exponents of weights [first, first + n) of a run; first is where the last call ended, a multiple of
// kChunk4, and n is kChunk4 unless the run ends. The bytes used so far, or nothing if the escapes do not fit.
std::optional<size_t> pack4(const uint8_t* exponents, size_t n, uint8_t* part, size_t size, size_t first);

// Start a part of at least size4(weights, 0) bytes.
void start4(uint8_t* part, size_t weights);

// Why the next chunk of a run of `weights` may not be appended at `first`; empty if it may.
std::string resume4(const uint8_t* part, size_t weights, size_t first);

// Why `part` of `size` bytes is not a whole run that can be multiplied; empty if it is. Then `run` is filled.
std::string open4(const uint8_t* part, size_t size, Run4& run, size_t& weights);

// The BF16 words of weights [first, first + n).
void unpack4(const Run4& run, size_t first, size_t n, uint16_t* words);

}  // namespace zipmoe
