#pragma once

#include <bit>
#include <cstddef>
#include <type_traits>
#include <utility>

static_assert(std::endian::native == std::endian::little, "BF16 words are read as the checkpoint stores them");

// One wheel runs on every machine of its architecture: on x86-64 a hot function is compiled for AVX-512, for AVX2 and
// for the baseline, and the loader picks once. Elsewhere (NEON is in the ARM baseline) plain code is already right.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define ZIPMOE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
// For functions whose shape depends on the number of registers, so that they are written once a level, not cloned.
#define ZIPMOE_LEVELS 1
#define ZIPMOE_BF16 __attribute__((target("arch=x86-64-v4,avx512bf16")))
#define ZIPMOE_AVX512 __attribute__((target("arch=x86-64-v4")))
#define ZIPMOE_AVX2 __attribute__((target("arch=x86-64-v3")))
#else
#define ZIPMOE_CLONES
#define ZIPMOE_LEVELS 0
#endif

// A helper must become part of each clone, or it is compiled once, for the baseline. The second is for a lambda.
#define ZIPMOE_INLINE inline __attribute__((always_inline))
#define ZIPMOE_INLINED __attribute__((always_inline))
#define ZIPMOE_ALONE __attribute__((noinline))

namespace zipmoe {

// act(0), ..., act(kCount - 1). Each index is a constant, so that what it indexes can stay in registers.
template <size_t kCount, typename Act>
ZIPMOE_INLINE void repeat(Act&& act) {
    [&]<size_t... i>(std::index_sequence<i...>) ZIPMOE_INLINED {
        (act(std::integral_constant<size_t, i>{}), ...);
    }(std::make_index_sequence<kCount>{});
}

}  // namespace zipmoe
