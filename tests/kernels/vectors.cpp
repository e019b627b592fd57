// The kernels without Python: for machines that are only emulated, and for sanitizers. Prints a digest of all that is
// exact, which must be the same on every architecture; checks sums against FP64. Built and run by test_vectors.py.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "bf16.h"
#include "matrix.h"
#include "packed.h"
#include "planes.h"

using namespace zipmoe;

namespace {

uint64_t state = 0x9E3779B97F4A7C15u;
uint64_t digest = 0xCBF29CE484222325u;

uint32_t random_bits() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state >> 33);
}

void note(const void* bytes, size_t n) {
    for (size_t i = 0; i < n; ++i) digest = (digest ^ static_cast<const uint8_t*>(bytes)[i]) * 0x100000001B3u;
}

void expect(bool holds, const char* what, size_t n) {
    if (holds) return;
    std::printf("%s is wrong for %zu\n", what, n);
    std::exit(1);
}

// Near Gaussian in its exponents; one of `wild` has any bits but those of infinity and NaN.
std::vector<uint16_t> weights(size_t n, uint32_t wild) {
    std::vector<uint16_t> words(n);
    for (auto& word : words) {
        const uint32_t bits = random_bits();
        const int exponent = 124 - __builtin_ctz(random_bits() | 1u << 20);
        word = static_cast<uint16_t>((bits & 0x807Fu) | static_cast<uint32_t>(exponent) << 7);
        if (random_bits() % wild == 0) word = static_cast<uint16_t>(random_bits() & 0xBFFF);
    }
    return words;
}

struct Packed {
    std::vector<uint8_t> sign_mantissa, parts;
    std::vector<Chunk> chunks;
    Run run;

    Packed(const std::vector<uint16_t>& words, uint32_t bits) : sign_mantissa(words.size()) {
        const size_t n = words.size();
        std::vector<uint8_t> exponents(n), merged(2 * n), again(n);
        split(reinterpret_cast<const uint8_t*>(words.data()), exponents.data(), sign_mantissa.data(), n);
        merge(exponents.data(), sign_mantissa.data(), merged.data(), n);
        expect(n == 0 || std::memcmp(merged.data(), words.data(), 2 * n) == 0, "merge", n);
        note(sign_mantissa.data(), n);
        for (size_t c = 0; c < n; c += kChunk) {
            const size_t count = std::min(kChunk, n - c), at = parts.size();
            parts.resize(at + most_bytes(bits, count));
            const std::optional<size_t> used = pack(bits, exponents.data() + c, count, &parts[at], parts.size() - at);
            expect(used.has_value(), "pack", n);
            note(&parts[at], *used);
            parts.resize(at + (*used + kFilePage - 1) / kFilePage * kFilePage);
        }
        expect(open(parts.data(), parts.size(), n, chunks).empty(), "open", n);
        for (size_t c = 0; c < chunks.size(); ++c) exponents_of(chunks[c], again.data() + c * kChunk);
        expect(again == exponents, "exponents_of", n);
        run = {sign_mantissa.data(), chunks.data()};
    }
};

void survives(const std::vector<uint16_t>& words) {
    for (const uint32_t bits : {3, 4}) {
        const Packed packed(words, bits);
        const size_t n = words.size();
        for (const size_t first : {size_t{0}, n / 3, n}) {
            std::vector<uint16_t> out(n - first);
            unpack(packed.run, first, out.size(), out.data());
            expect(std::equal(out.begin(), out.end(), words.begin() + static_cast<long>(first)), "unpack", n);
            note(out.data(), 2 * out.size());
        }
    }
}

bool near(double got, double exact, double magnitude) {
    return std::abs(got - exact) <= std::abs(exact) * 0x1p-8 + magnitude * 0x1p-5;
}

void multiplies(uint32_t bits, size_t tokens, size_t hidden, size_t inner, size_t threads) {
    const auto words = weights(3 * hidden * inner, 5000), x = weights(tokens * hidden, 1 << 30);
    const Packed packed(words, bits);
    const size_t down_at = 2 * inner * hidden;
    const Matrix from{x.data(), tokens, hidden};
    const Matrix gate_up{words.data(), 2 * inner, hidden}, down{words.data() + down_at, hidden, inner};
    const PackedMatrix packed_gate_up{packed.run, 0, 2 * inner, hidden}, packed_down{packed.run, down_at, hidden, inner};

    std::vector<uint16_t> sums(tokens * 2 * inner), sums4(sums.size()), out(tokens * hidden), out4(out.size());
    linear(from, gate_up, sums.data(), threads);
    linear(from, packed_gate_up, sums4.data(), threads);
    expect(sums == sums4, "linear of packed weights", hidden);
    std::vector<double> gated(tokens * inner), exact(2 * inner);
    for (size_t t = 0; t < tokens; ++t) {
        for (size_t r = 0; r < 2 * inner; ++r) {
            double sum = 0, magnitude = 0;
            for (size_t k = 0; k < hidden; ++k) {
                const double product = double{widen(x[t * hidden + k])} * widen(words[r * hidden + k]);
                sum += product, magnitude += std::abs(product);
            }
            expect(near(widen(sums[t * 2 * inner + r]), sum, magnitude * 0x1p-8), "linear", hidden);
            exact[r] = rounded(static_cast<float>(sum));
        }
        for (size_t i = 0; i < inner; ++i) {
            const float act = rounded(static_cast<float>(exact[i] / (1 + std::exp(-exact[i]))));
            gated[t * inner + i] = rounded(act * static_cast<float>(exact[inner + i]));
        }
    }
    feed_forward({{from, gate_up, down, out.data()}}, threads);
    feed_forward({{from, packed_gate_up, packed_down, out4.data()}}, threads);
    expect(out == out4, "expert of packed weights", hidden);
    for (size_t t = 0; t < tokens; ++t) {
        for (size_t r = 0; r < hidden; ++r) {
            double sum = 0, magnitude = 0;
            for (size_t k = 0; k < inner; ++k) {
                const double product = gated[t * inner + k] * widen(down.words[r * inner + k]);
                sum += product, magnitude += std::abs(product);
            }
            expect(near(widen(out[t * hidden + r]), sum, magnitude), "expert", hidden);
        }
    }
}

}  // namespace

int main() {
    for (size_t n = 0; n < 400; ++n) survives(weights(n, 50));
    for (const size_t n : {kChunk - 1, kChunk, kChunk + 129, 2 * kChunk + 1}) survives(weights(n, 7000));
    std::vector<uint16_t> every(1 << 16);
    for (size_t i = 0; i < every.size(); ++i) every[i] = static_cast<uint16_t>(i * 40503);
    survives(every);
    for (const uint32_t bits : {3, 4}) {
        for (const size_t tokens : {1, 2, 3, 4, 5, 6, 8, 9, 12, 13})
            for (const size_t threads : {1, 2}) multiplies(bits, tokens, 256, 128, threads);
        multiplies(bits, 3, 100, 70, 2);
        multiplies(bits, 1, 1408, 256, 2);
    }
    multiplies(3, 50, 2100, 10, 2);
    std::printf("%016llx\n", static_cast<unsigned long long>(digest));
}
