#include "pack4.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "decode4.h"
#include "targets.h"

namespace zipmoe {
namespace {

constexpr char kMagic[4] = {'Z', 'P', '4', 1};
constexpr size_t kWindow = 16;
constexpr size_t kLine = 64;

size_t spans(size_t weights) { return (weights + kSpan4 - 1) / kSpan4; }
size_t head_bytes(size_t weights) { return (sizeof(Head4) + spans(weights) + kLine - 1) / kLine * kLine; }
size_t nibble_bytes(size_t weights) { return (weights + kBlock4 - 1) / kBlock4 * (kBlock4 / 2); }

// The base with the fewest escapes, judged by one line of eight: the window's edges hold few weights.
uint8_t best_base(const uint8_t* exponents, size_t n) {
    std::array<std::array<uint32_t, 256>, 2> counts{};
    const size_t stride = n < 8 * 1024 ? kLine : 8 * kLine;
    for (size_t line = 0; line < n; line += stride)
        for (size_t i = line; i < std::min(n, line + kLine); ++i) ++counts[i % 2][exponents[i]];
    const auto count = [&](size_t e) { return counts[0][e] + counts[1][e]; };
    uint32_t inside = 0;
    for (size_t e = 0; e < kWindow; ++e) inside += count(e);
    uint32_t most = inside;
    size_t best = 0;
    for (size_t base = 1; base + kWindow <= 256; ++base) {
        inside += count(base + kWindow - 1) - count(base - 1);
        if (inside > most) most = inside, best = base;
    }
    return static_cast<uint8_t>(best);
}

// Nibbles of one block. Whether any of its weights escapes.
ZIPMOE_INLINE bool pack_block(const uint8_t* exponents, uint8_t base, uint8_t* block) {
    Bytes32 e[4];
    for (size_t g = 0; g < 4; ++g) {
        std::memcpy(&e[g], exponents + g * kGroup4, sizeof e[g]);
        e[g] -= base;
    }
    const Bytes32 low = (e[0] & 0x0F) | (e[1] << 4), high = (e[2] & 0x0F) | (e[3] << 4);
    const Words32 words = __builtin_convertvector(low, Words32) | (__builtin_convertvector(high, Words32) << 8);
    std::memcpy(block, &words, sizeof words);
    const Bytes32 outside = (e[0] | e[1] | e[2] | e[3]) & 0xF0;
    uint64_t parts[4];
    std::memcpy(parts, &outside, sizeof parts);
    return (parts[0] | parts[1] | parts[2] | parts[3]) != 0;
}

// Pack whole blocks up to the first that has an escape, which is packed too: the number of blocks done, and whether
// the last one escapes.
ZIPMOE_CLONES
size_t pack_calm(const uint8_t* exponents, size_t blocks, uint8_t base, uint8_t* nibbles, bool& escapes) {
    escapes = false;
    size_t done = 0;
    while (done < blocks && !escapes) {
        escapes = pack_block(exponents + done * kBlock4, base, nibbles + done * (kBlock4 / 2));
        ++done;
    }
    return done;
}

ZIPMOE_CLONES
void unpack_blocks(const uint8_t* sign_mantissa, const uint8_t* nibbles, uint16_t base, size_t blocks,
                   uint16_t* words) {
    const Adding of(base);
    for (size_t b = 0; b < blocks; ++b) {
        const uint8_t* const n = nibbles + b * (kBlock4 / 2);
        const uint8_t* const sm = sign_mantissa + b * kBlock4;
        uint16_t* const out = words + b * kBlock4;
        decode4<0>(sm, n, of, out);
        decode4<1>(sm + kGroup4, n, of, out + kGroup4);
        decode4<2>(sm + 2 * kGroup4, n, of, out + 2 * kGroup4);
        decode4<3>(sm + 3 * kGroup4, n, of, out + 3 * kGroup4);
    }
}

uint16_t word_of(uint32_t exponent, uint8_t sm) {
    return static_cast<uint16_t>(((sm & 0x80u) << 8) | (exponent << 7) | (sm & 0x7Fu));
}

// Of one span, without the escapes.
void unpack_span(const Run4& run, size_t first, size_t n, uint16_t* words) {
    const uint16_t base = run.base(first);
    const auto single = [&](size_t w) {
        const size_t in = w % kBlock4;
        const uint8_t* const at = run.nibbles + w / kBlock4 * (kBlock4 / 2) + 2 * (in % kGroup4);
        const unsigned nibble = (at[in / (2 * kGroup4)] >> (in / kGroup4 % 2 * 4)) & 0xFu;
        words[w - first] = word_of((base >> 7) + nibble, run.sign_mantissa[w]);
    };
    size_t w = first;
    const size_t end = first + n;
    for (; w < end && w % kBlock4 != 0; ++w) single(w);
    const size_t blocks = (end - w) / kBlock4;
    unpack_blocks(run.sign_mantissa + w, run.nibbles + w / 2, base, blocks, words + (w - first));
    for (w += blocks * kBlock4; w < end; ++w) single(w);
}

}  // namespace

size_t size4(size_t weights, size_t escapes) {
    return head_bytes(weights) + nibble_bytes(weights) + escapes * sizeof(Escape);
}

const Escape* Run4::escape_from(size_t weight) const {
    return std::lower_bound(escapes, escapes_end, weight, [](const Escape& e, size_t w) { return e.position < w; });
}

void start4(uint8_t* part, size_t weights) {
    Head4 head{{}, 0, weights, 0};
    std::memcpy(head.magic, kMagic, sizeof kMagic);
    std::memset(part, 0, head_bytes(weights));
    std::memcpy(part, &head, sizeof head);
}

std::string resume4(const uint8_t* part, size_t weights, size_t first) {
    Head4 head;
    std::memcpy(&head, part, sizeof head);
    if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0 || head.weights != weights)
        return "the part was not started for a run of " + std::to_string(weights) + " weights";
    if (head.packed != first)
        return "chunk at weight " + std::to_string(first) + " of a run of which " + std::to_string(head.packed) +
               " are packed";
    return {};
}

// Append the weights [first, first + n) of one span. Whether there was room for its escapes.
static bool pack_span(const uint8_t* exponents, size_t n, uint8_t* part, size_t size, size_t first, Head4& head) {
    uint8_t* const nibbles = part + head_bytes(head.weights);
    uint8_t* const escapes = nibbles + nibble_bytes(head.weights);
    const size_t room = (size - size4(head.weights, 0)) / sizeof(Escape);
    const uint8_t base = best_base(exponents, n);
    part[sizeof head + first / kSpan4] = base;

    const auto escape = [&](size_t from, size_t to) {
        for (size_t i = from; i < to; ++i) {
            if (static_cast<uint8_t>(exponents[i] - base) < kWindow) continue;
            if (head.escapes >= room) return false;
            const Escape one{static_cast<uint32_t>(first + i), exponents[i]};
            std::memcpy(escapes + sizeof one * head.escapes++, &one, sizeof one);
        }
        return true;
    };
    const size_t blocks = n / kBlock4;
    for (size_t done = 0; done < blocks;) {
        bool any;
        done += pack_calm(exponents + done * kBlock4, blocks - done, base, nibbles + (first / 2 + done * 64), any);
        if (any && !escape((done - 1) * kBlock4, done * kBlock4)) return false;
    }
    if (const size_t rest = n % kBlock4) {
        uint8_t last[kBlock4];
        std::memset(last, base, sizeof last);
        std::memcpy(last, exponents + n - rest, rest);
        pack_block(last, base, nibbles + (first + n - rest) / 2);
        return escape(n - rest, n);
    }
    return true;
}

std::optional<size_t> pack4(const uint8_t* exponents, size_t n, uint8_t* part, size_t size, size_t first) {
    Head4 head;
    std::memcpy(&head, part, sizeof head);
    for (size_t done = 0; done < n; done += kSpan4)
        if (!pack_span(exponents + done, std::min(kSpan4, n - done), part, size, first + done, head))
            return std::nullopt;
    head.packed = first + n;
    std::memcpy(part, &head, sizeof head);
    return size4(head.weights, head.escapes);
}

std::string open4(const uint8_t* part, size_t size, Run4& run, size_t& weights) {
    Head4 head;
    const std::string bytes = std::to_string(size) + " bytes";
    if (size < sizeof head) return "an exponent part of " + bytes + " has no head";
    std::memcpy(&head, part, sizeof head);
    if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0) return bytes + " that are no exponent part of pack4";
    const std::string run_of = "a run of " + std::to_string(head.weights) + " weights";
    if (head.weights > UINT32_MAX) return run_of + " is longer than positions of 32 bits can say";
    if (head.packed != head.weights) return run_of + " of which " + std::to_string(head.packed) + " are packed";
    if (const size_t needed = size4(head.weights, head.escapes); size < needed)
        return run_of + " with " + std::to_string(head.escapes) + " escapes needs an exponent part of " +
               std::to_string(needed) + " bytes, and has " + std::to_string(size);
    if (reinterpret_cast<uintptr_t>(part) % alignof(Escape) != 0)
        return "an exponent part must start at a multiple of " + std::to_string(alignof(Escape));
    weights = head.weights;
    run.bases = part + sizeof head;
    run.nibbles = part + head_bytes(weights);
    run.escapes = reinterpret_cast<const Escape*>(run.nibbles + nibble_bytes(weights));
    run.escapes_end = run.escapes + head.escapes;
    for (size_t s = 0; s < spans(weights); ++s)
        if (run.bases[s] > 256 - kWindow)
            return run_of + ": base " + std::to_string(run.bases[s]) + " of span " + std::to_string(s) + " is damaged";
    for (const Escape* e = run.escapes; e != run.escapes_end; ++e)
        if (e->position >= weights || e->exponent > 0xFF || (e != run.escapes && e->position <= (e - 1)->position))
            return run_of + ": escape " + std::to_string(e - run.escapes) + " of " + std::to_string(head.escapes) +
                   " at " + std::to_string(e->position) + " is damaged";
    return {};
}

void unpack4(const Run4& run, size_t first, size_t n, uint16_t* words) {
    for (size_t at = first; at < first + n;) {
        const size_t end = std::min(first + n, (at / kSpan4 + 1) * kSpan4);
        unpack_span(run, at, end - at, words + (at - first));
        at = end;
    }
    for (const Escape* e = run.escape_from(first); e != run.escapes_end && e->position < first + n; ++e)
        words[e->position - first] = word_of(e->exponent, run.sign_mantissa[e->position]);
}

}  // namespace zipmoe
