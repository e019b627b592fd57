#pragma once

#include <bit>

static_assert(std::endian::native == std::endian::little, "BF16 words are read as the checkpoint stores them");

// One wheel runs on every machine of its architecture: on x86-64 a hot function is compiled for AVX-512, for AVX2 and
// for the baseline, and the loader picks once. Elsewhere (NEON is in the ARM baseline) plain code is already right.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define ZIPMOE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
// For functions whose shape depends on the number of registers, so that they are written once a level, not cloned.
#define ZIPMOE_LEVELS 1
#define ZIPMOE_AVX512 __attribute__((target("arch=x86-64-v4")))
#define ZIPMOE_AVX2 __attribute__((target("arch=x86-64-v3")))
#else
#define ZIPMOE_CLONES
#define ZIPMOE_LEVELS 0
#endif

// A helper must become part of each clone, or it is compiled once, for the baseline.
#define ZIPMOE_INLINE inline __attribute__((always_inline))
