#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string>

#include "matrix.h"
#include "thread_pool.h"

namespace zipmoe {

using ReadArray = nanobind::ndarray<nanobind::ro, nanobind::device::cpu>;
using WriteArray = nanobind::ndarray<nanobind::device::cpu>;

template <typename Number>
using Numbers = nanobind::ndarray<Number, nanobind::c_contig, nanobind::device::cpu>;

template <typename Array>
std::string shape_of(const Array& array) {
    std::string text = "[";
    for (size_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
    return text + "]";
}

[[noreturn]] inline void refuse(const std::string& why) { throw nanobind::value_error(why.c_str()); }

// The words of an argument. ValueError if it is not a C-contiguous matrix of BF16, or of 16-bit integers that hold it.
template <typename Array>
uint16_t* words_of(const Array& array, const char* name) {
    namespace dlpack = nanobind::dlpack;
    const dlpack::dtype type = array.dtype();
    const bool fits = type.code == static_cast<uint8_t>(dlpack::dtype_code::Bfloat) ||
                      type.code == static_cast<uint8_t>(dlpack::dtype_code::UInt);
    if (!fits || type.bits != 16 || type.lanes != 1)
        refuse(std::string(name) + " must be bfloat16, or uint16 that holds it");
    if (array.ndim() != 2) refuse(std::string(name) + " has shape " + shape_of(array) + ", and must be a matrix");
    const auto rows = static_cast<int64_t>(array.shape(0)), columns = static_cast<int64_t>(array.shape(1));
    if ((columns > 1 && rows > 0 && array.stride(1) != 1) || (rows > 1 && columns > 0 && array.stride(0) != columns))
        refuse(std::string(name) + " " + shape_of(array) + " must be C-contiguous");
    return static_cast<uint16_t*>(const_cast<void*>(static_cast<const void*>(array.data())));
}

inline Matrix matrix(const ReadArray& array, const char* name) {
    const uint16_t* words = words_of(array, name);
    return {words, array.shape(0), array.shape(1)};
}

inline void expect(bool fits, const char* name, const std::string& shape, const char* other,
                   const std::string& other_shape, const char* rule) {
    if (!fits)
        refuse(std::string(name) + " " + shape + " does not fit " + other + " " + other_shape + ": " + rule);
}

inline size_t checked(int threads) {
    if (threads < 1 || threads > static_cast<int>(ThreadPool::kMost))
        refuse("threads is " + std::to_string(threads) + ", and must be 1 to " + std::to_string(ThreadPool::kMost));
    return static_cast<size_t>(threads);
}

}  // namespace zipmoe
