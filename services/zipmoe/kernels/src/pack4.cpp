#include "pack4.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "level.h"
#include "targets.h"

namespace zipmoe {
namespace {

constexpr char kMagic[4] = {'Z', 'P', '4', 2};
constexpr size_t kWindow = 16;
constexpr size_t kLine = 64;
typedef uint8_t Bytes __attribute__((vector_size(kGroup)));

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
    Bytes e[4];
    for (size_t g = 0; g < 4; ++g) {
        std::memcpy(&e[g], exponents + g * kGroup, sizeof e[g]);
        e[g] -= base;
    }
    const Bytes first = (e[0] & 0x0F) | (e[1] << 4), second = (e[2] & 0x0F) | (e[3] << 4);
    std::memcpy(block, &first, sizeof first);
    std::memcpy(block + kGroup, &second, sizeof second);
    const Bytes outside = (e[0] | e[1] | e[2] | e[3]) & 0xF0;
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

struct UnpackBlocks {
    template <typename Level>
    ZIPMOE_INLINE static void run(const uint8_t* sign_mantissa, const uint8_t* nibbles, uint8_t base, size_t blocks,
                                  uint16_t* words) {
        const typename Level::Exponents of(base);
        typename Level::Group group;
        for (size_t half = 0; half < 2 * blocks; ++half) {
            Level::template decode<0>(sign_mantissa, nibbles, of, group);
            Level::store(group, words);
            Level::template decode<1>(sign_mantissa + kGroup, nibbles, of, group);
            Level::store(group, words + kGroup);
            sign_mantissa += 2 * kGroup, nibbles += kGroup, words += 2 * kGroup;
        }
    }
};

void unpack_blocks(const uint8_t* sign_mantissa, const uint8_t* nibbles, uint8_t base, size_t blocks,
                   uint16_t* words) {
    static const auto best = fastest<UnpackBlocks>(unpack_blocks);
    best(sign_mantissa, nibbles, base, blocks, words);
}

unsigned nibble(const Chunk4& chunk, size_t weight) {
    const size_t at = weight / (2 * kGroup) * kGroup + weight % kGroup;
    return (chunk.nibbles[at] >> (weight / kGroup % 2 * 4)) & 0xFu;
}

// Weights [first, first + n) of one span of a chunk, without the escapes.
void unpack_span(const Chunk4& chunk, const uint8_t* sign_mantissa, size_t first, size_t n, uint16_t* words) {
    const uint8_t base = chunk.base(first);
    const auto single = [&](size_t w) { words[w - first] = joined(base + nibble(chunk, w), sign_mantissa[w]); };
    size_t w = first;
    const size_t end = first + n;
    for (; w < end && w % kBlock4 != 0; ++w) single(w);
    const size_t blocks = (end - w) / kBlock4;
    unpack_blocks(sign_mantissa + w, chunk.nibbles + w / 2, base, blocks, words + (w - first));
    for (w += blocks * kBlock4; w < end; ++w) single(w);
}

void unpack_chunk(const Chunk4& chunk, const uint8_t* sign_mantissa, size_t first, size_t n, uint16_t* words) {
    for (size_t at = first; at < first + n;) {
        const size_t end = std::min(first + n, (at / kSpan4 + 1) * kSpan4);
        unpack_span(chunk, sign_mantissa, at, end - at, words + (at - first));
        at = end;
    }
    for (const Escape* e = chunk.escape_from(first); e != chunk.escapes_end && e->position() < first + n; ++e)
        words[e->position() - first] = joined(e->exponent(), sign_mantissa[e->position()]);
}

// The exponents of whole blocks of one span, without the escapes.
ZIPMOE_CLONES
void exponents_of_blocks(const uint8_t* nibbles, uint8_t base, size_t blocks, uint8_t* exponents) {
    for (size_t half = 0; half < 2 * blocks; ++half) {
        Bytes packed;
        std::memcpy(&packed, nibbles + half * kGroup, sizeof packed);
        const Bytes low = (packed & 0x0F) + base, high = (packed >> 4) + base;
        std::memcpy(exponents + half * 2 * kGroup, &low, sizeof low);
        std::memcpy(exponents + half * 2 * kGroup + kGroup, &high, sizeof high);
    }
}

}  // namespace

size_t size4(size_t weights, size_t escapes) {
    return sizeof(Head4) + nibble_bytes(weights) + escapes * sizeof(Escape);
}

const Escape* Chunk4::escape_from(size_t weight) const {
    return std::lower_bound(escapes, escapes_end, weight, [](const Escape& e, size_t w) { return e.position() < w; });
}

std::optional<size_t> pack4(const uint8_t* exponents, size_t n, uint8_t* part, size_t size) {
    Head4 head{};
    std::memcpy(part, &head, sizeof head);  // none until the part is whole
    std::memcpy(head.magic, kMagic, sizeof kMagic);
    head.weights = static_cast<uint32_t>(n);
    uint8_t* const nibbles = part + sizeof head;
    uint8_t* const escapes = nibbles + nibble_bytes(n);
    const size_t room = (size - size4(n, 0)) / sizeof(Escape);

    const auto escape = [&](size_t from, size_t to, uint8_t base) {
        for (size_t i = from; i < to; ++i) {
            if (static_cast<uint8_t>(exponents[i] - base) < kWindow) continue;
            if (head.escapes >= room) return false;
            const Escape one{static_cast<uint32_t>(i) | uint32_t{exponents[i]} << 24};
            std::memcpy(escapes + sizeof one * head.escapes++, &one, sizeof one);
        }
        return true;
    };
    for (size_t first = 0; first < n; first += kSpan4) {
        const size_t end = std::min(n, first + kSpan4);
        const uint8_t base = head.bases[first / kSpan4] = best_base(exponents + first, end - first);
        size_t done = first;
        while (done + kBlock4 <= end) {
            bool any;
            done += kBlock4 * pack_calm(exponents + done, (end - done) / kBlock4, base, nibbles + done / 2, any);
            if (any && !escape(done - kBlock4, done, base)) return std::nullopt;
        }
        if (done < end) {
            uint8_t last[kBlock4];
            std::memset(last, base, sizeof last);
            std::memcpy(last, exponents + done, end - done);
            pack_block(last, base, nibbles + done / 2);
            if (!escape(done, end, base)) return std::nullopt;
        }
    }
    std::memcpy(part, &head, sizeof head);
    return size4(n, head.escapes);
}

std::string open4(const uint8_t* part, size_t size, Chunk4& chunk) {
    Head4 head;
    const std::string bytes = std::to_string(size) + " bytes";
    if (size < sizeof head) return "a part of " + bytes + " has no head";
    std::memcpy(&head, part, sizeof head);
    if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0) return bytes + " that are no part of pack4";
    const std::string of = "a chunk of " + std::to_string(head.weights) + " weights";
    if (head.weights > kChunk4) return of + ": there are at most " + std::to_string(kChunk4);
    if (const size_t needed = size4(head.weights, head.escapes); size < needed)
        return of + " with " + std::to_string(head.escapes) + " escapes needs a part of " + std::to_string(needed) +
               " bytes, and has " + std::to_string(size);
    if (reinterpret_cast<uintptr_t>(part) % alignof(Escape) != 0)
        return "a part must start at a multiple of " + std::to_string(alignof(Escape));
    chunk.weights = head.weights;
    chunk.bases = part + offsetof(Head4, bases);
    chunk.nibbles = part + sizeof head;
    chunk.escapes = reinterpret_cast<const Escape*>(chunk.nibbles + nibble_bytes(head.weights));
    chunk.escapes_end = chunk.escapes + head.escapes;
    for (size_t s = 0; s * kSpan4 < head.weights; ++s)
        if (chunk.bases[s] > 256 - kWindow)
            return of + ": base " + std::to_string(chunk.bases[s]) + " of span " + std::to_string(s) + " is damaged";
    for (const Escape* e = chunk.escapes; e != chunk.escapes_end; ++e)
        if (e->position() >= head.weights || (e != chunk.escapes && e->position() <= (e - 1)->position()))
            return of + ": escape " + std::to_string(e - chunk.escapes) + " of " + std::to_string(head.escapes) +
                   " at " + std::to_string(e->position()) + " is damaged";
    return {};
}

std::string open4(const uint8_t* parts, size_t size, size_t weights, std::vector<Chunk4>& chunks) {
    chunks.clear();
    for (size_t at = 0, first = 0; first < weights; first += kChunk4) {
        const size_t expected = std::min(kChunk4, weights - first);
        Chunk4& chunk = chunks.emplace_back();
        std::string why = at > size ? "the parts end before it" : open4(parts + at, size - at, chunk);
        if (why.empty() && chunk.weights != expected)
            why = "it has " + std::to_string(chunk.weights) + " weights, and should have " + std::to_string(expected);
        if (!why.empty()) return "chunk at weight " + std::to_string(first) + ": " + why;
        const auto end = reinterpret_cast<const uint8_t*>(chunk.escapes_end);
        at = (static_cast<size_t>(end - parts) + kPage4 - 1) / kPage4 * kPage4;
    }
    return {};
}

void exponents4(const Chunk4& chunk, uint8_t* exponents) {
    const size_t n = chunk.weights;
    for (size_t first = 0; first < n; first += kSpan4) {
        const size_t blocks = (std::min(n, first + kSpan4) - first) / kBlock4;
        exponents_of_blocks(chunk.nibbles + first / 2, chunk.bases[first / kSpan4], blocks, exponents + first);
    }
    for (size_t w = n / kBlock4 * kBlock4; w < n; ++w)
        exponents[w] = static_cast<uint8_t>(chunk.bases[w / kSpan4] + nibble(chunk, w));
    for (const Escape* e = chunk.escapes; e != chunk.escapes_end; ++e)
        exponents[e->position()] = static_cast<uint8_t>(e->exponent());
}

void unpack4(const Run4& run, size_t first, size_t n, uint16_t* words) {
    for (size_t at = first; at < first + n;) {
        const size_t chunk = at / kChunk4, end = std::min(first + n, (chunk + 1) * kChunk4);
        unpack_chunk(run.chunks[chunk], run.sign_mantissa + chunk * kChunk4, at % kChunk4, end - at,
                     words + (at - first));
        at = end;
    }
}

}  // namespace zipmoe
