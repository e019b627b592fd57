#include <nanobind/nanobind.h>

#include <string>

#include "array.h"
#include "buffer.h"
#include "modules.h"
#include "planes.h"

namespace nb = nanobind;
using zipmoe::Buffer;
using zipmoe::expect;
using zipmoe::ReadArray;
using zipmoe::shape_of;
using zipmoe::WriteArray;

namespace {

size_t plane_size(const Buffer& words, const Buffer& exponents, const Buffer& sign_mantissa) {
    const size_t n = exponents.size();
    if (words.size() != 2 * n || sign_mantissa.size() != n)
        throw nb::value_error(("planes do not fit: " + std::to_string(words.size()) + " bytes of words, " +
                               std::to_string(n) + " of exponents, " + std::to_string(sign_mantissa.size()) +
                               " of sign-mantissas; n words are 2n bytes and each plane is n")
                                  .c_str());
    return n;
}

bool overlap(const Buffer& a, const Buffer& b) {
    return a.data() < b.data() + b.size() && b.data() < a.data() + a.size();
}

void split(nb::handle words, nb::handle exponents, nb::handle sign_mantissa) {
    const Buffer from(words, Buffer::kRead);
    const Buffer e(exponents, Buffer::kWrite), sm(sign_mantissa, Buffer::kWrite);
    const size_t n = plane_size(from, e, sm);
    if (overlap(from, e) || overlap(from, sm) || overlap(e, sm)) throw nb::value_error("split: buffers overlap");
    nb::gil_scoped_release free;
    zipmoe::split(from.data(), e.data(), sm.data(), n);
}

void merge(nb::handle exponents, nb::handle sign_mantissa, nb::handle words) {
    const Buffer e(exponents, Buffer::kRead), sm(sign_mantissa, Buffer::kRead);
    const Buffer to(words, Buffer::kWrite);
    const size_t n = plane_size(to, e, sm);
    if (overlap(e, to)) throw nb::value_error("merge: exponents overlap words");
    if (overlap(sm, to) && sm.data() < to.data() + n)
        throw nb::value_error("merge: sign_mantissa overlaps the lower half of words; it may start at words + n");
    nb::gil_scoped_release free;
    zipmoe::merge(e.data(), sm.data(), to.data(), n);
}

void linear(const ReadArray& x, const ReadArray& weight, const WriteArray& out, int threads) {
    const zipmoe::Matrix from = zipmoe::matrix(x, "x"), w = zipmoe::matrix(weight, "weight");
    uint16_t* const to = zipmoe::words_of(out, "out");
    const size_t count = zipmoe::checked(threads);
    expect(w.columns == from.columns, "weight", shape_of(weight), "x", shape_of(x), "x is [m, K], weight [N, K]");
    expect(out.shape(0) == from.rows && out.shape(1) == w.rows, "out", shape_of(out), "weight", shape_of(weight),
           "weight is [N, K], out [m, N]");
    nb::gil_scoped_release free;
    zipmoe::linear(from, w, to, count);
}

void expert(const ReadArray& x, const ReadArray& gate_up, const ReadArray& down, const WriteArray& out, int threads) {
    const zipmoe::Matrix from = zipmoe::matrix(x, "x");
    const zipmoe::Matrix first = zipmoe::matrix(gate_up, "gate_up"), last = zipmoe::matrix(down, "down");
    uint16_t* const to = zipmoe::words_of(out, "out");
    const size_t count = zipmoe::checked(threads);
    expect(first.columns == from.columns, "gate_up", shape_of(gate_up), "x", shape_of(x),
           "x is [m, H], gate_up [2I, H]");
    expect(last.rows == from.columns, "down", shape_of(down), "x", shape_of(x), "x is [m, H], down [H, I]");
    expect(first.rows == 2 * last.columns, "down", shape_of(down), "gate_up", shape_of(gate_up),
           "gate_up is [2I, H], down [H, I]");
    expect(out.shape(0) == from.rows && out.shape(1) == from.columns, "out", shape_of(out), "x", shape_of(x),
           "both are [m, H]");
    nb::gil_scoped_release free;
    zipmoe::feed_forward({{from, first, last, to}}, count);
}

}  // namespace

NB_MODULE(_kernels, module) {
    module.def("split", &split, nb::arg("words"), nb::arg("exponents"), nb::arg("sign_mantissa"));
    module.def("merge", &merge, nb::arg("exponents"), nb::arg("sign_mantissa"), nb::arg("words"));
    // An argument is taken as it is: never copied into what it should have been.
    module.def("linear", &linear, nb::arg("x").noconvert(), nb::arg("weight").noconvert(), nb::arg("out").noconvert(),
               nb::arg("threads"));
    module.def("expert", &expert, nb::arg("x").noconvert(), nb::arg("gate_up").noconvert(),
               nb::arg("down").noconvert(), nb::arg("out").noconvert(), nb::arg("threads"));
    zipmoe::define_packed(module);
    zipmoe::define_activations(module);
}
