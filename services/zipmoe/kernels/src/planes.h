#pragma once

#include <cstddef>
#include <cstdint>

namespace zipmoe {

// n BF16 words into n exponent bytes and n sign-mantissa bytes. The three ranges must not overlap.
void split(const uint8_t* words, uint8_t* exponents, uint8_t* sign_mantissa, size_t n);

// The inverse. `sign_mantissa` may overlap `words` if it starts at words + n or later (see planes.cpp);
// `exponents` may not overlap.
void merge(const uint8_t* exponents, const uint8_t* sign_mantissa, uint8_t* words, size_t n);

}  // namespace zipmoe
