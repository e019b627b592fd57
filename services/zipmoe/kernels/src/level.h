#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "targets.h"

namespace zipmoe {

constexpr size_t kLineOfBytes = 64;

// A level is a kind of processor: how wide its registers are, how many sums they hold at once, and how a group of weights
// comes into them, as words or packed. Weights are always taken a group at a time; a level may have their words in an order
// of its own, and says where each column goes.

// An exponent turned right by one bit lies as the bytes of a BF16 word want it, but for one bit: with its low seven
// bits it is the high byte, and its top one is that of the low byte. So is a sign-mantissa the low byte, and its top bit
// the high byte's. Exchange the two top bits, and both bytes are there.
constexpr uint8_t turned(unsigned exponent) { return static_cast<uint8_t>(exponent >> 1 | exponent << 7); }
constexpr uint8_t turned_back(unsigned byte) { return static_cast<uint8_t>(byte << 1 | byte >> 7); }
constexpr uint16_t joined(uint8_t turned, uint8_t sign_mantissa) {
    const unsigned swap = (turned ^ sign_mantissa) & 0x80u;
    return static_cast<uint16_t>((turned ^ swap) << 8 | (sign_mantissa ^ swap));
}

template <size_t kBytes>
struct Registers {
    typedef uint8_t Bytes __attribute__((vector_size(kBytes)));
    typedef uint16_t Words __attribute__((vector_size(kBytes)));
    typedef uint32_t Pairs __attribute__((vector_size(kBytes)));
    typedef float Floats __attribute__((vector_size(kBytes)));
    static constexpr size_t kWidth = kBytes;
    static constexpr size_t kWords = kBytes / 2;
    static constexpr size_t kLanes = kBytes / 4;
    static constexpr size_t kGroup = 32;
    static constexpr size_t kCount = kGroup / kWords;  // registers of a group
    using Group = Words[kCount];
    // Weights are widened to FP32, and multiplied with such.
    using Activation = float;
    static constexpr bool kTakesWords = false;
    // Into the second cache: in the first it would push out activations.
    ZIPMOE_INLINE static void ask(const uint8_t* line) { __builtin_prefetch(line, 0, 2); }
    static constexpr bool kAsksAsItExpands = false;
    // Into the first all the same: little, and read once.
    ZIPMOE_INLINE static void ask_near(const uint8_t* line) { __builtin_prefetch(line, 0, 3); }
    // Tokens for which words need not be made before, as they are used in the registers where they are made.
    static constexpr size_t kFew = 2;
    // With those, rows of a band that come side by side: each activation that is loaded serves them all.
    static constexpr size_t side_by_side(size_t) { return 4; }
    // Of those, rows whose words are held at once.
    static constexpr size_t kHeld = 1;
    // Sums of a row and token that are under way at once.
    static constexpr size_t kChains = 1;
    // What more than one instruction reads stays in its register.
    ZIPMOE_INLINE static void hold(Words&) {}

    ZIPMOE_INLINE static void join(const uint8_t* sign_mantissa, const uint8_t* turned, Bytes& low, Bytes& high) {
        std::memcpy(&low, sign_mantissa, sizeof low);
        std::memcpy(&high, turned, sizeof high);
        const Bytes swap = (low ^ high) & 0x80;
        low ^= swap;
        high ^= swap;
    }
};

// SSE2 and NEON.
struct Plain : Registers<16> {
    static constexpr size_t kSums = 8;

    // Which word, of those of a group in their registers, the weight of column k < kGroup is.
    static constexpr size_t word_of(size_t k) { return k; }

    ZIPMOE_INLINE static void load(const uint16_t* words, Group& group) {
        repeat<kCount>([&](auto i) ZIPMOE_INLINED { std::memcpy(&group[i], words + i * kWords, sizeof group[i]); });
    }
    ZIPMOE_INLINE static void store(const Group& group, uint16_t* words) {
        repeat<kCount>([&](auto i) ZIPMOE_INLINED { std::memcpy(words + i * kWords, &group[i], sizeof group[i]); });
    }
    // The words of 32 weights.
    ZIPMOE_INLINE static void join(const uint8_t* sign_mantissa, const uint8_t* turned, Group& group) {
        repeat<2>([&](auto i) ZIPMOE_INLINED {
            Bytes a, b;
            Registers::join(sign_mantissa + 16 * i, turned + 16 * i, a, b);
            group[2 * i] = (Words)__builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            group[2 * i + 1] =
                (Words)__builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        });
    }

    // Turned exponents from codes below 16.
#if defined(__aarch64__)
    struct Exponents {
        Bytes table;
        ZIPMOE_INLINE explicit Exponents(uint8_t base) {
            for (unsigned i = 0; i < 16; ++i) table[i] = turned(static_cast<uint8_t>(base + i));
        }
        ZIPMOE_INLINE void codes(const Bytes& codes, Bytes& found) const { found = __builtin_shuffle(table, codes); }
    };
#else
    struct Exponents {
        Bytes base;
        ZIPMOE_INLINE explicit Exponents(uint8_t of) : base(Bytes{} + of) {}
        ZIPMOE_INLINE void codes(const Bytes& codes, Bytes& found) const {
            const auto e = (Words)(codes + base);
            found = (Bytes)(((e >> 1) & 0x7F7F) | ((e << 7) & 0x8080));
        }
    };
#endif
};

#if ZIPMOE_LEVELS
// Interleaving works within 128 bits, hence the order. Also for AVX-512, which then finds fewer instructions for the
// same, and has registers for more sums.
template <size_t kMost>
struct Wide : Registers<32> {
    static constexpr size_t kSums = kMost, kFew = 8;
    static constexpr size_t side_by_side(size_t tokens) { return 4 * tokens <= kMost ? 4 : 2 * tokens <= kMost ? 2 : 1; }
    typedef uint16_t HalfWords __attribute__((vector_size(16)));

    static constexpr size_t word_of(size_t k) { return k % 8 + k / 16 * 8 + k / 8 % 2 * 16; }

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
    ZIPMOE_INLINE static void join(const uint8_t* sign_mantissa, const uint8_t* turned, Group& group) {
        Bytes a, b;
        Registers::join(sign_mantissa, turned, a, b);
        group[0] = (Words)__builtin_shufflevector(a, b, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 16, 48,
                                                  17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55);
        group[1] = (Words)__builtin_shufflevector(a, b, 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47,
                                                  24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63);
    }

    // The look-up is written out: the compiler's own would look up 32 entries, and an intrinsic may not be inlined
    // through helpers that serve every level.
    struct Exponents {
        Bytes table;
        ZIPMOE_INLINE explicit Exponents(uint8_t base) {
            for (unsigned i = 0; i < 32; ++i) table[i] = turned(static_cast<uint8_t>(base + i % 16));
        }
        ZIPMOE_INLINE void codes(const Bytes& codes, Bytes& found) const {
            asm("vpshufb %1, %2, %0" : "=x"(found) : "x"(codes), "x"(table));
        }
    };
};

using Avx2 = Wide<12>;
using Avx512 = Wide<16>;

// Processors that multiply BF16: a lane takes the products of two neighbouring words to its sum, in FP32. Subnormal
// numbers are zero to them, as they are to every library that uses this instruction.
struct Bf16 : Registers<64> {
    using Activation = uint16_t;
    static constexpr bool kTakesWords = true;
    static constexpr size_t kSums = 24, kFew = 10, kHeld = 2, kChains = 2;
    // A row by itself, so that the hardware learns its stream, unless loads of activations are what takes time; and where
    // there is no room for the sums of two.
    static constexpr size_t side_by_side(size_t tokens) { return tokens < 3 || tokens > 6 ? 1 : 2; }
    static constexpr size_t kGroup = 64, kCount = 2;
    using Group = Words[kCount];
    // Into the nearest cache: half as wide, activations leave room there.
    ZIPMOE_INLINE static void ask(const uint8_t* line) { __builtin_prefetch(line, 0, 0); }
    static constexpr bool kAsksAsItExpands = true;
    typedef uint64_t Quads __attribute__((vector_size(kWidth)));

    // As interleaving within 128 bits has them.
    static constexpr size_t word_of(size_t k) { return k % 8 + k / 16 * 8 + k / 8 % 2 * 32; }

    ZIPMOE_INLINE static void load(const uint16_t* words, Group& group) {
        Quads first, second;
        std::memcpy(&first, words, sizeof first);
        std::memcpy(&second, words + kWords, sizeof second);
        group[0] = (Words)__builtin_shufflevector(first, second, 0, 1, 4, 5, 8, 9, 12, 13);
        group[1] = (Words)__builtin_shufflevector(first, second, 2, 3, 6, 7, 10, 11, 14, 15);
    }
    ZIPMOE_INLINE static void store(const Group& group, uint16_t* words) {
        const auto one = (Quads)group[0], other = (Quads)group[1];
        const Quads first = __builtin_shufflevector(one, other, 0, 1, 8, 9, 2, 3, 10, 11);
        const Quads second = __builtin_shufflevector(one, other, 4, 5, 12, 13, 6, 7, 14, 15);
        std::memcpy(words, &first, sizeof first);
        std::memcpy(words + kWords, &second, sizeof second);
    }
    ZIPMOE_INLINE static void join(const uint8_t* sign_mantissa, const uint8_t* turned, Group& group) {
        Bytes a, b;
        std::memcpy(&a, sign_mantissa, sizeof a);
        std::memcpy(&b, turned, sizeof b);
        asm("" : "+v"(a), "+v"(b));  // each is read twice, and need not be loaded twice
        const Bytes before = a, top = Bytes{} + 0x80;
        // As Registers::join does, an instruction each: the other's bit where the mask has one.
        asm("vpternlogq $0xd8, %2, %1, %0" : "+v"(a) : "v"(b), "v"(top));
        asm("vpternlogq $0xd8, %2, %1, %0" : "+v"(b) : "v"(before), "v"(top));
        asm("vpunpcklbw %2, %1, %0" : "=v"(group[0]) : "v"(a), "v"(b));
        asm("vpunpckhbw %2, %1, %0" : "=v"(group[1]) : "v"(a), "v"(b));
    }
    ZIPMOE_INLINE static void hold(Words& words) { asm("" : "+v"(words)); }
    ZIPMOE_INLINE static void multiply(Floats& sum, const Words& weights, const Words& x) {
        asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(weights), "vm"(x));
    }

    struct Exponents {
        Bytes table;
        ZIPMOE_INLINE explicit Exponents(uint8_t base) {
            for (unsigned i = 0; i < kWidth; ++i) table[i] = turned(static_cast<uint8_t>(base + i % 16));
        }
        template <typename Some>
        ZIPMOE_INLINE void codes(const Some& codes, Some& found) const {
            Some same;
            std::memcpy(&same, &table, sizeof same);
            asm("vpshufb %1, %2, %0" : "=v"(found) : "v"(codes), "v"(same));
        }
    };
};

// A Zen 4. What is asked for into its nearest cache holds up what is loaded there; and that is so small that with more
// tokens their activations do not stay in it, row after row.
struct Bf16Far : Bf16 {
    static constexpr size_t kFew = 6;
    ZIPMOE_INLINE static void ask(const uint8_t* line) { __builtin_prefetch(line, 0, 2); }
    ZIPMOE_INLINE static void ask_near(const uint8_t* line) { ask(line); }
};
#endif

// Act::run<Level>, built for each level; never as a part of its caller, so that it has the registers for itself.
template <typename Act, typename... Arguments>
struct Builds {
#if ZIPMOE_LEVELS
    ZIPMOE_BF16 ZIPMOE_ALONE static void bf16_far(Arguments... arguments) { Act::template run<Bf16Far>(arguments...); }
    ZIPMOE_BF16 ZIPMOE_ALONE static void bf16(Arguments... arguments) { Act::template run<Bf16>(arguments...); }
    ZIPMOE_AVX512 ZIPMOE_ALONE static void avx512(Arguments... arguments) { Act::template run<Avx512>(arguments...); }
    ZIPMOE_AVX2 ZIPMOE_ALONE static void avx2(Arguments... arguments) { Act::template run<Avx2>(arguments...); }
#endif
    ZIPMOE_ALONE static void plain(Arguments... arguments) { Act::template run<Plain>(arguments...); }

    template <typename Level>
    static constexpr auto at() {
#if ZIPMOE_LEVELS
        if constexpr (std::is_same_v<Level, Bf16Far>) return bf16_far;
        if constexpr (std::is_same_v<Level, Bf16>) return bf16;
        if constexpr (std::is_same_v<Level, Avx512>) return avx512;
        if constexpr (std::is_same_v<Level, Avx2>) return avx2;
#endif
        if constexpr (std::is_same_v<Level, Plain>) return plain;
    }
};

// The build that is the fastest on this machine, of an Act whose `run` has the arguments of a function.
template <typename Act, typename... Arguments>
auto fastest(void (*)(Arguments...)) {
    using Build = Builds<Act, Arguments...>;
#if ZIPMOE_LEVELS
    // Intel's take as long for a register of BF16 as for five of FP32 (Emerald Rapids: 1.2 ns, 0.25 ns).
    if (__builtin_cpu_is("amd") && __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16"))
        return __builtin_cpu_is("amdfam19h") ? Build::bf16_far : Build::bf16;  // of that family only Zen 4 multiplies BF16
    if (__builtin_cpu_supports("x86-64-v4")) return Build::avx512;
    if (__builtin_cpu_supports("x86-64-v3")) return Build::avx2;
#endif
    return Build::plain;
}

}  // namespace zipmoe
