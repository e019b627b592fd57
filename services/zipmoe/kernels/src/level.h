#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "targets.h"

namespace zipmoe {

// A level is a kind of processor: how wide its registers are, how many sums they hold at once, and how a group of 32
// weights comes into them, as words or packed. Weights are always taken a group at a time; a level may have their words
// in an order of its own, and says where each column goes.
constexpr size_t kGroup = 32;

template <size_t kBytes>
struct Registers {
    typedef uint8_t Bytes __attribute__((vector_size(kBytes)));
    typedef uint8_t HalfBytes __attribute__((vector_size(kBytes / 2)));
    typedef uint16_t Words __attribute__((vector_size(kBytes)));
    typedef uint32_t Pairs __attribute__((vector_size(kBytes)));
    typedef float Floats __attribute__((vector_size(kBytes)));
    static constexpr size_t kWords = kBytes / 2;
    static constexpr size_t kLanes = kBytes / 4;
    static constexpr size_t kCount = kGroup / kWords;  // registers of a group
    using Group = Words[kCount];

    // Which word, of those of a group in their registers, the weight of column k < kGroup is.
    static constexpr size_t word_of(size_t k) { return k; }

    ZIPMOE_INLINE static void load(const uint16_t* words, Group& group) {
        repeat<kCount>([&](auto i) ZIPMOE_INLINED { std::memcpy(&group[i], words + i * kWords, kBytes); });
    }
    ZIPMOE_INLINE static void store(const Group& group, uint16_t* words) {
        repeat<kCount>([&](auto i) ZIPMOE_INLINED { std::memcpy(words + i * kWords, &group[i], kBytes); });
    }
};

// SSE2 and NEON, by arithmetic alone.
struct Plain : Registers<16> {
    static constexpr size_t kSums = 8;

    struct Exponents {
        Words base;
        ZIPMOE_INLINE explicit Exponents(uint8_t of) : base(Words{} + static_cast<uint16_t>(of << 7)) {}
    };

    // The words of 32 weights whose exponents are the low (kHigh = 0) or high nibbles of 32 bytes.
    template <size_t kHigh>
    ZIPMOE_INLINE static void decode(const uint8_t* sign_mantissa, const uint8_t* nibbles, const Exponents& of,
                                     Group& group) {
        repeat<kCount>([&](auto i) ZIPMOE_INLINED {
            const Words s = widened(sign_mantissa + i * kWords), n = widened(nibbles + i * kWords);
            group[i] = ((s * 0x0101) & 0x807F) | (((kHigh ? n << 3 : n << 7) & 0x780) + of.base);
        });
    }

private:
    ZIPMOE_INLINE static Words widened(const uint8_t* bytes) {
        HalfBytes narrow;
        std::memcpy(&narrow, bytes, sizeof narrow);
        return __builtin_convertvector(narrow, Words);
    }
};

#if ZIPMOE_LEVELS
// Instructions are written out, because the compiler's own choice for each is several slower ones, and an intrinsic may
// not be inlined through helpers that serve every level.

// A word's bytes are looked up apart, 32 at a time, and then interleaved: within 128 bits, hence the order.
struct Avx2 : Registers<32> {
    static constexpr size_t kSums = 8;

    static constexpr size_t word_of(size_t k) { return k % 8 + k / 16 * 8 + k / 8 % 2 * 16; }

    typedef uint16_t HalfWords __attribute__((vector_size(16)));

    ZIPMOE_INLINE static void load(const uint16_t* words, Group& group) {
        repeat<2>([&](auto i) ZIPMOE_INLINED {
            HalfWords low, high;
            std::memcpy(&low, words + 8 * i, sizeof low);
            std::memcpy(&high, words + 8 * (i + 2), sizeof high);
            group[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        });
    }
    ZIPMOE_INLINE static void store(const Group& group, uint16_t* words) {
        repeat<2>([&](auto i) ZIPMOE_INLINED {
            const HalfWords low = __builtin_shufflevector(group[i], group[i], 0, 1, 2, 3, 4, 5, 6, 7);
            const HalfWords high = __builtin_shufflevector(group[i], group[i], 8, 9, 10, 11, 12, 13, 14, 15);
            std::memcpy(words + 8 * i, &low, sizeof low);
            std::memcpy(words + 8 * (i + 2), &high, sizeof high);
        });
    }

    struct Exponents {
        Bytes high, low;  // of a word, by nibble
        ZIPMOE_INLINE explicit Exponents(uint8_t base) {
            for (unsigned i = 0; i < 32; ++i) {
                high[i] = static_cast<uint8_t>((base + i % 16) >> 1);
                low[i] = static_cast<uint8_t>((base + i % 16) << 7);
            }
        }
    };

    template <size_t kHigh>
    ZIPMOE_INLINE static void decode(const uint8_t* sign_mantissa, const uint8_t* nibbles, const Exponents& of,
                                     Group& group) {
        Words packed;
        Bytes s, high, low;
        std::memcpy(&packed, nibbles, sizeof packed);
        std::memcpy(&s, sign_mantissa, sizeof s);
        const Bytes index = (Bytes)(kHigh ? packed >> 4 : packed) & 0x0F;
        asm("vpshufb %1, %2, %0" : "=x"(high) : "x"(index), "x"(of.high));
        asm("vpshufb %1, %2, %0" : "=x"(low) : "x"(index), "x"(of.low));
        high |= s & 0x80;
        low |= s & 0x7F;
        asm("vpunpcklbw %1, %2, %0" : "=x"(group[0]) : "x"(high), "x"(low));
        asm("vpunpckhbw %1, %2, %0" : "=x"(group[1]) : "x"(high), "x"(low));
    }
};

// A permutation of 32 words looks at the low five bits of an index, so the table holds every exponent twice and nothing
// needs a mask.
struct Avx512 : Registers<64> {
    static constexpr size_t kSums = 16;

    struct Exponents {
        Words table;
        ZIPMOE_INLINE explicit Exponents(uint8_t base) {
            for (unsigned i = 0; i < 32; ++i) table[i] = static_cast<uint16_t>((base + i % 16) << 7);
        }
    };

    template <size_t kHigh>
    ZIPMOE_INLINE static void decode(const uint8_t* sign_mantissa, const uint8_t* nibbles, const Exponents& of,
                                     Group& group) {
        Words s, n, e;
        widen(sign_mantissa, s);
        widen(nibbles, n);
        const Words index = kHigh ? n >> 4 : n;
        asm("vpermw %1, %2, %0" : "=v"(e) : "v"(of.table), "v"(index));
        group[0] = ((s * 0x0101) & 0x807F) | e;
    }

private:
    ZIPMOE_INLINE static void widen(const uint8_t* bytes, Words& words) {
        asm("vpmovzxbw %1, %0" : "=v"(words) : "m"(*reinterpret_cast<const HalfBytes*>(bytes)));
    }
};
#endif

// Act::run<Level>, built for each level.
template <typename Act, typename... Arguments>
struct Builds {
#if ZIPMOE_LEVELS
    ZIPMOE_AVX512 static void avx512(Arguments... arguments) { Act::template run<Avx512>(arguments...); }
    ZIPMOE_AVX2 static void avx2(Arguments... arguments) { Act::template run<Avx2>(arguments...); }
#endif
    static void plain(Arguments... arguments) { Act::template run<Plain>(arguments...); }
};

// The build that is the fastest on this machine, of an Act whose `run` has the arguments of a function.
template <typename Act, typename... Arguments>
auto fastest(void (*)(Arguments...)) {
    using Build = Builds<Act, Arguments...>;
#if ZIPMOE_LEVELS
    if (__builtin_cpu_supports("x86-64-v4")) return Build::avx512;
    if (__builtin_cpu_supports("x86-64-v3")) return Build::avx2;
#endif
    return Build::plain;
}

}  // namespace zipmoe
