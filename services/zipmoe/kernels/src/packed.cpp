#include "packed.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

#include "expand.h"
#include "targets.h"

namespace zipmoe {
namespace {

constexpr char kMagic[4] = {'Z', 'P', 'K', 1};
constexpr size_t kLine = 64;

constexpr size_t up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

size_t codes_at(size_t weights) { return sizeof(Head) + up(4 * (up(weights, kPage) / kPage), kLine); }
size_t escapes_at(uint32_t bits, size_t weights) {
    const size_t codes = bits == Form4::kBits ? up(weights, Form4::kWeights) / Form4::kWeights * Form4::kBytes
                                              : up(weights, Form3::kWeights) / Form3::kWeights * Form3::kBytes;
    return codes_at(weights) + codes;
}

// The base with the fewest escapes, judged by one line of eight: the window's edges hold few weights.
uint8_t best_base(const uint8_t* exponents, size_t n, size_t window) {
    std::array<std::array<uint32_t, 256>, 2> counts{};
    const size_t stride = n < 8 * 1024 ? kLine : 8 * kLine;
    for (size_t line = 0; line < n; line += stride)
        for (size_t i = line; i < std::min(n, line + kLine); ++i) ++counts[i % 2][exponents[i]];
    const auto count = [&](size_t e) { return counts[0][e] + counts[1][e]; };
    uint32_t inside = 0;
    for (size_t e = 0; e < window; ++e) inside += count(e);
    uint32_t most = inside;
    size_t best = 0;
    for (size_t base = 1; base + window <= 256; ++base) {
        inside += count(base + window - 1) - count(base - 1);
        if (inside > most) most = inside, best = base;
    }
    return static_cast<uint8_t>(best);
}

ZIPMOE_CLONES
void pack_block(Form4, const uint8_t* e, uint8_t base, uint8_t* out) {
    for (size_t i = 0; i < Form4::kBytes; ++i)
        out[i] = static_cast<uint8_t>(((e[i] - base) & 15) | ((e[Form4::kBytes + i] - base) & 15) << 4);
}

ZIPMOE_CLONES
void pack_block(Form3, const uint8_t* e, uint8_t base, uint8_t* out) {
    for (size_t i = 0; i < 64; ++i) {
        const auto code = [&](size_t group) { return (e[group * 64 + i] - base) & 7; };
        out[i] = static_cast<uint8_t>(code(0) | code(1) << 3 | code(6) << 6);
        out[64 + i] = static_cast<uint8_t>(code(2) | code(3) << 3 | (code(6) & 4) << 4 | (code(7) & 4) << 5);
        out[128 + i] = static_cast<uint8_t>(code(4) | code(5) << 3 | code(7) << 6);
    }
}

// Escapes as they are found, from the first weight to the last.
class Escapes {
public:
    Escapes(const uint8_t* exponents, size_t n, uint8_t* out, size_t room)
        : exponents_(exponents), n_(n), out_(out), room_(room) {}

    void put(size_t at) {
        while (at - last_ > kFarthest) push(last_ + kFarthest);
        push(at);
    }
    size_t count() const { return count_; }
    bool fit() const { return count_ <= room_; }

private:
    void push(size_t at) {
        const Escape one{static_cast<uint8_t>(at - last_), at < n_ ? turned(exponents_[at]) : uint8_t{0}};
        if (count_ < room_) std::memcpy(out_ + sizeof one * count_, &one, sizeof one);
        ++count_;
        last_ = at;
    }

    const uint8_t* exponents_;
    size_t n_;
    uint8_t* out_;
    size_t room_;
    size_t last_ = 0;
    size_t count_ = 0;
};

// Weights [from, to) of a span, eight at a time: most of them need no look.
void put_escapes(const uint8_t* exponents, size_t from, size_t to, uint8_t base, size_t window, Escapes& escapes) {
    constexpr uint64_t kEach = 0x0101010101010101u;
    size_t i = from;
    const auto look = [&](size_t at) {
        if (static_cast<uint8_t>(exponents[at] - base) >= window && at % kPage != 0) escapes.put(at);
    };
    for (; i + 8 <= to; i += 8) {
        uint64_t eight;
        std::memcpy(&eight, exponents + i, sizeof eight);
        // Bytes less the base, with no borrow from one to the next (Hacker's Delight, 2-18).
        const uint64_t b = base * kEach, high = 0x80 * kEach;
        const uint64_t less = ((eight | high) - (b & ~high)) ^ ((eight ^ ~b) & high);
        for (uint64_t outside = less & (256 - window) * kEach; outside;) {
            const auto byte = static_cast<size_t>(std::countr_zero(outside)) / 8;
            look(i + byte);
            outside &= ~(uint64_t{0xFF} << 8 * byte);
        }
    }
    for (; i < to; ++i) look(i);
}

template <typename Form>
std::optional<size_t> pack_as(const uint8_t* exponents, size_t n, uint8_t* part, size_t size) {
    const size_t before = escapes_at(Form::kBits, n);
    if (size < before) return std::nullopt;
    Head head{};
    std::memcpy(part, &head, sizeof head);  // none until the part is whole
    std::memcpy(head.magic, kMagic, sizeof kMagic);
    head.weights = static_cast<uint32_t>(n);
    head.bits = Form::kBits;
    std::memset(part + sizeof head, 0, codes_at(n) - sizeof head);
    Escapes escapes(exponents, n, part + before, (size - before) / sizeof(Escape));
    for (size_t page = 0; page < n; page += kPage) {
        uint8_t& base = head.bases[page / kSpan];
        if (page % kSpan == 0) base = best_base(exponents + page, std::min(kSpan, n - page), Form::kWindow);
        const size_t end = std::min(n, page + kPage);
        for (size_t block = page; block < end; block += Form::kWeights) {
            uint8_t* const codes = part + codes_at(n) + block / Form::kWeights * Form::kBytes;
            if (block + Form::kWeights <= end) {
                pack_block(Form{}, exponents + block, base, codes);
            } else {
                uint8_t last[Form::kWeights];
                std::memset(last, base, sizeof last);
                std::memcpy(last, exponents + block, end - block);
                pack_block(Form{}, last, base, codes);
            }
        }
        escapes.put(page);
        const auto first = static_cast<uint32_t>(escapes.count() - 1);
        std::memcpy(part + sizeof head + page / kPage * sizeof first, &first, sizeof first);
        put_escapes(exponents, page, end, base, Form::kWindow, escapes);
        if (!escapes.fit()) return std::nullopt;
    }
    escapes.put(n);
    if (!escapes.fit()) return std::nullopt;
    head.escapes = static_cast<uint32_t>(escapes.count());
    std::memcpy(part, &head, sizeof head);
    return before + escapes.count() * sizeof(Escape);
}

// Why the escapes could not be read from every page on, and to the end; empty if they can.
std::string check_escapes(const Chunk& chunk, size_t count) {
    const auto damaged = [&](const char* what, size_t i) {
        return std::string(what) + " " + std::to_string(i) + " of a chunk of " + std::to_string(chunk.weights) +
               " weights is damaged";
    };
    size_t position = 0, page = 0;
    for (size_t i = 0; i < count; ++i) {
        const size_t distance = chunk.escapes[i].distance;
        if (i > 0 && (distance == 0 || position >= chunk.weights)) return damaged("escape", i);
        position += i > 0 ? distance : 0;
        if (position < page * kPage || position >= chunk.weights) continue;
        if (position > page * kPage || chunk.pages[page] != i) return damaged("page", page);
        ++page;
    }
    if (count == 0 || position < chunk.weights) return damaged("escape", count);
    if (page * kPage < chunk.weights) return damaged("page", page);
    return {};
}

struct UnpackWords {
    template <typename Level>
    ZIPMOE_INLINE static void run(const Run& run, size_t first, size_t n, uint16_t* words) {
        Reader reader(run, first);
        const uint8_t* sign_mantissa = run.sign_mantissa + first;
        for (size_t done = 0; done < n;) {
            const size_t count = std::min(kPage, n - done);
            const uint8_t* const exponents = reader.next<Level>(count);
            size_t i = 0;
            for (; i + Level::kGroup <= count; i += Level::kGroup) {
                typename Level::Group group;
                Level::join(sign_mantissa + i, exponents + i, group);
                Level::store(group, words + i);
            }
            for (; i < count; ++i) words[i] = joined(exponents[i], sign_mantissa[i]);
            sign_mantissa += count, words += count, done += count;
        }
    }
};

struct UnpackExponents {
    template <typename Level>
    ZIPMOE_INLINE static void run(const Chunk& chunk, uint8_t* exponents) {
        const Run run{nullptr, &chunk};
        Reader reader(run, 0);
        for (size_t done = 0; done < chunk.weights; done += kPage) {
            const size_t count = std::min(kPage, chunk.weights - done);
            const uint8_t* const from = reader.next<Level>(count);
            for (size_t i = 0; i < count; ++i) exponents[done + i] = turned_back(from[i]);
        }
    }
};

}  // namespace

size_t most_bytes(uint32_t bits, size_t weights) { return escapes_at(bits, weights) + (weights + 2) * sizeof(Escape); }

std::optional<size_t> pack(uint32_t bits, const uint8_t* exponents, size_t n, uint8_t* part, size_t size) {
    return (bits == Form4::kBits ? pack_as<Form4> : pack_as<Form3>)(exponents, n, part, size);
}

std::string open(const uint8_t* part, size_t size, Chunk& chunk, size_t& used) {
    Head head;
    const std::string bytes = std::to_string(size) + " bytes";
    if (size < sizeof head) return "a part of " + bytes + " has no head";
    std::memcpy(&head, part, sizeof head);
    if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0) return bytes + " that are no part of a packed run";
    if (head.bits != Form3::kBits && head.bits != Form4::kBits)
        return "a part in codes of " + std::to_string(head.bits) + " bits: there are 3 and 4";
    const std::string of = "a chunk of " + std::to_string(head.weights) + " weights";
    if (head.weights > kChunk) return of + ": there are at most " + std::to_string(kChunk);
    used = escapes_at(head.bits, head.weights) + sizeof(Escape) * size_t{head.escapes};
    if (size < used)
        return of + " with " + std::to_string(head.escapes) + " escapes needs a part of " + std::to_string(used) +
               " bytes, and has " + std::to_string(size);
    if (reinterpret_cast<uintptr_t>(part) % alignof(uint32_t) != 0)
        return "a part must start at a multiple of " + std::to_string(alignof(uint32_t));
    chunk = {part + codes_at(head.weights),
             part + offsetof(Head, bases),
             reinterpret_cast<const uint32_t*>(part + sizeof head),
             reinterpret_cast<const Escape*>(part + escapes_at(head.bits, head.weights)),
             head.weights,
             head.bits};
    return check_escapes(chunk, head.escapes);
}

std::string open(const uint8_t* parts, size_t size, size_t weights, std::vector<Chunk>& chunks) {
    chunks.clear();
    for (size_t at = 0, first = 0; first < weights; first += kChunk) {
        const size_t expected = std::min(kChunk, weights - first);
        Chunk& chunk = chunks.emplace_back();
        size_t used = 0;
        std::string why = at > size ? "the parts end before it" : open(parts + at, size - at, chunk, used);
        if (why.empty() && chunk.weights != expected)
            why = "it has " + std::to_string(chunk.weights) + " weights, and should have " + std::to_string(expected);
        if (!why.empty()) return "chunk at weight " + std::to_string(first) + ": " + why;
        at += up(used, kFilePage);
    }
    return {};
}

void exponents_of(const Chunk& chunk, uint8_t* exponents) {
    static const auto best = fastest<UnpackExponents>(exponents_of);
    best(chunk, exponents);
}

void unpack(const Run& run, size_t first, size_t n, uint16_t* words) {
    static const auto best =
        fastest<UnpackWords>(static_cast<void (*)(const Run&, size_t, size_t, uint16_t*)>(unpack));
    best(run, first, n, words);
}

}  // namespace zipmoe
