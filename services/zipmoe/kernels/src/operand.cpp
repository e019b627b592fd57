#include "operand.h"

#include <cstring>

#include "bf16.h"
#include "level.h"

namespace zipmoe {
namespace {

struct Bytes {
    template <typename Level>
    ZIPMOE_INLINE static void run(size_t& bytes) {
        bytes = sizeof(typename Level::Activation);
    }
};

// Columns that lie together in every level, from a multiple of so many on.
constexpr size_t kTogether = 8;

// Where words become FP32, a register of them is one of 32-bit numbers, each two weights: the low halves are the even
// ones, the high halves the odd ones, and neither needs a shuffle. So for each register the even ones come first.
struct Put {
    template <typename Level>
    ZIPMOE_INLINE static void run(void* row, size_t first, const uint16_t* words, size_t count) {
        auto* const numbers = static_cast<typename Level::Activation*>(row);
        size_t i = 0;
        const auto put = [&]<size_t kCount>(std::integral_constant<size_t, kCount>) ZIPMOE_INLINED {
            const size_t k = first + i, word = Level::word_of(k % Level::kGroup), in = word % Level::kWords;
            auto* const group = numbers + k / Level::kGroup * Level::kGroup;
            if constexpr (Level::kTakesWords) {
                std::memcpy(group + word, words + i, 2 * kCount);
            } else {
                for (size_t j = 0; j < kCount; ++j)
                    group[word - in + (in + j) % 2 * Level::kLanes + (in + j) / 2] = widen(words[i + j]);
            }
            i += kCount;
        };
        while (i + kTogether <= count) put(std::integral_constant<size_t, kTogether>{});
        while (i < count) put(std::integral_constant<size_t, 1>{});
    }
};

size_t bytes_of_a_number() {
    static const auto best = fastest<Bytes>(static_cast<void (*)(size_t&)>(nullptr));
    size_t bytes = 0;
    best(bytes);
    return bytes;
}

}  // namespace

Operand::Operand(size_t tokens, size_t columns)
    : stride_(whole_groups(columns) * bytes_of_a_number() / sizeof(Line)),
      lines_(std::make_unique_for_overwrite<Line[]>(tokens * stride_)) {
    const size_t group = stride_ - whole_groups(columns - columns % 64) * bytes_of_a_number() / sizeof(Line);
    for (size_t t = 0; t < tokens; ++t) std::memset(&lines_[(t + 1) * stride_ - group], 0, group * sizeof(Line));
}

void Operand::put(size_t token, size_t first, const uint16_t* words, size_t count) {
    static const auto best =
        fastest<Put>(static_cast<void (*)(void*, size_t, const uint16_t*, size_t)>(nullptr));
    best(&lines_[token * stride_], first, words, count);
}

}  // namespace zipmoe
