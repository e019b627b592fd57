#pragma once

#include <algorithm>
#include <vector>

#include "level.h"
#include "packed.h"

namespace zipmoe {

template <typename Level>
ZIPMOE_INLINE void expand_block(Form4, const uint8_t* codes, const typename Level::Exponents& of, uint8_t* out) {
    constexpr size_t kWidth = std::min(Level::kWidth, Form4::kBytes);
    using Bytes = typename Registers<kWidth>::Bytes;
    using Words = typename Registers<kWidth>::Words;
    repeat<Form4::kBytes / kWidth>([&](auto i) ZIPMOE_INLINED {
        Words packed;
        std::memcpy(&packed, codes + i * kWidth, sizeof packed);
        Bytes low, high;
        of.codes((Bytes)(packed & 0x0F0F), low);
        of.codes((Bytes)((packed >> 4) & 0x0F0F), high);
        std::memcpy(out + i * kWidth, &low, sizeof low);
        std::memcpy(out + Form4::kBytes + i * kWidth, &high, sizeof high);
    });
}

template <typename Level>
ZIPMOE_INLINE void expand_block(Form3, const uint8_t* codes, const typename Level::Exponents& of, uint8_t* out) {
    using Bytes = typename Level::Bytes;
    using Words = typename Level::Words;
    for (size_t i = 0; i < 64; i += Level::kWidth) {
        Words a, b, c;
        std::memcpy(&a, codes + i, sizeof a);
        std::memcpy(&b, codes + 64 + i, sizeof b);
        std::memcpy(&c, codes + 128 + i, sizeof c);
        const Words groups[8] = {a & 0x0707,
                                 (a >> 3) & 0x0707,
                                 b & 0x0707,
                                 (b >> 3) & 0x0707,
                                 c & 0x0707,
                                 (c >> 3) & 0x0707,
                                 ((a >> 6) & 0x0303) | ((b >> 4) & 0x0404),
                                 ((c >> 6) & 0x0303) | ((b >> 5) & 0x0404)};
        repeat<8>([&](auto g) ZIPMOE_INLINED {
            Bytes exponents;
            of.codes((Bytes)groups[g], exponents);
            std::memcpy(out + g * 64 + i, &exponents, sizeof exponents);
        });
    }
}

// A place in a run, from which turned exponents are read on: expanded into memory that stays in the nearest cache, and
// the escapes written over them there. Whoever multiplies then needs to know of neither.
class Reader {
public:
    ZIPMOE_INLINE Reader(const Run& run, size_t first) : run_(run), at_(first) {}

    // The turned exponents of the next n weights, valid until the next call.
    template <typename Level>
    ZIPMOE_INLINE const uint8_t* next(size_t n) {
        thread_local std::vector<uint8_t> memory;
        constexpr size_t kMostBlock = Form3::kWeights;
        // Blocks are expanded whole, so what is wanted may begin in one and end in another; each begins a cache line.
        if (memory.size() < n + 2 * kMostBlock + kLineOfBytes) memory.resize(n + 2 * kMostBlock + kLineOfBytes);
        uint8_t* const lines = memory.data() + (-reinterpret_cast<uintptr_t>(memory.data()) & (kLineOfBytes - 1));
        uint8_t* const out = lines + at_ % kMostBlock;
        for (size_t done = 0; done < n;) {
            const Chunk& chunk = run_.chunks[at_ / kChunk];
            const size_t from = at_ % kChunk, count = std::min(n - done, kChunk - from);
            if (chunk.bits == Form4::kBits) {
                expand<Level, Form4>(chunk, from, from + count, out + done);
            } else {
                expand<Level, Form3>(chunk, from, from + count, out + done);
            }
            patch(chunk, from, from + count, out + done);
            codes_ = chunk.codes + (from + count) * chunk.bits / 8;
            bits_ = chunk.bits;
            done += count;
            at_ += count;
        }
        return out;
    }

    // Where the codes lie of what comes next, and the bits of one.
    ZIPMOE_INLINE const uint8_t* codes() const { return codes_; }
    ZIPMOE_INLINE size_t bits() const { return bits_; }

private:
    // Weights [from, to) of a chunk to `out`, and what is in front of and behind them in their blocks there.
    template <typename Level, typename Form>
    ZIPMOE_INLINE static void expand(const Chunk& chunk, size_t from, size_t to, uint8_t* out) {
        // As many weights as now will be wanted next.
        [[maybe_unused]] const size_t ahead = (to - from) * Form::kBits / 8;
        size_t block = from / Form::kWeights;
        const size_t end = (to + Form::kWeights - 1) / Form::kWeights;
        out -= from % Form::kWeights;
        while (block < end) {
            constexpr size_t kInSpan = kSpan / Form::kWeights;
            const typename Level::Exponents of(chunk.bases[block / kInSpan]);
            const size_t last = std::min(end, (block / kInSpan + 1) * kInSpan);
            for (; block < last; ++block, out += Form::kWeights) {
                const uint8_t* const codes = chunk.codes + block * Form::kBytes;
                if constexpr (Level::kAsksAsItExpands)
                    for (size_t i = 0; i < Form::kBytes; i += kLineOfBytes) Level::ask_near(codes + ahead + i);
                expand_block<Level>(Form{}, codes, of, out);
            }
        }
    }

    ZIPMOE_INLINE void patch(const Chunk& chunk, size_t from, size_t to, uint8_t* out) {
        if (from == 0 || !escape_) {
            escape_ = chunk.escapes + chunk.pages[from / kPage];
            position_ = from / kPage * kPage;
            while (position_ < from) position_ += (++escape_)->distance;
        }
        const Escape* const first = escape_;
        constexpr size_t kUnchecked = 4;
        while (position_ + kUnchecked * kFarthest < to) {
            repeat<kUnchecked>([&](auto) ZIPMOE_INLINED { put(out - from); });
        }
        while (position_ < to) put(out - from);
        // As many as now will be wanted next, and too much later for the hardware to see that they are a stream.
        for (const Escape* next = escape_; next <= escape_ + (escape_ - first); next += kLineOfBytes / sizeof(Escape))
            __builtin_prefetch(next, 0, 3);
    }

    ZIPMOE_INLINE void put(uint8_t* chunk) {
        chunk[position_] = escape_->turned;
        position_ += (++escape_)->distance;
    }

    const Run& run_;
    size_t at_;
    const uint8_t* codes_ = nullptr;
    size_t bits_ = 0;
    const Escape* escape_ = nullptr;  // the next in the chunk, and its place there
    size_t position_ = 0;
};

}  // namespace zipmoe
