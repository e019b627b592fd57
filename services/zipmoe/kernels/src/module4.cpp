#include "modules.h"

#include <nanobind/stl/optional.h>

#include <string>
#include <utility>
#include <vector>

#include "array.h"
#include "buffer.h"
#include "matrix.h"
#include "pack4.h"
#include "thread_pool.h"

namespace nb = nanobind;

namespace zipmoe {
namespace {

std::string shape_of(const Matrix4& matrix) {
    std::string text = "[";
    return text.append(std::to_string(matrix.rows)).append(", ").append(std::to_string(matrix.columns)).append("]");
}

// A matrix in a packed run. Checked once, when it is made; it holds both buffers.
class Packed4 {
public:
    Packed4(nb::handle sign_mantissa, nb::handle parts, size_t first, size_t rows, size_t columns)
        : sign_mantissa_(sign_mantissa, Buffer::kRead), parts_(parts, Buffer::kRead) {
        const size_t weights = sign_mantissa_.size();
        matrix_ = {{}, first, rows, columns};
        if (const std::string why = open4(parts_.data(), parts_.size(), weights, chunks_); !why.empty()) refuse(why);
        if (first > weights || (columns != 0 && rows > (weights - first) / columns))
            refuse("a matrix " + shape_of(matrix_) + " from weight " + std::to_string(first) +
                   " on does not fit a run of " + std::to_string(weights) + " weights");
        matrix_.run = {sign_mantissa_.data(), chunks_.data()};
    }
    const Matrix4& matrix() const { return matrix_; }

private:
    Buffer sign_mantissa_, parts_;
    std::vector<Chunk4> chunks_;
    Matrix4 matrix_;
};

std::optional<size_t> pack_chunk(nb::handle exponents, nb::handle part) {
    const Buffer from(exponents, Buffer::kRead), to(part, Buffer::kWrite);
    const std::string chunk = "a chunk of " + std::to_string(from.size()) + " weights";
    if (from.size() > kChunk4) refuse(chunk + ": there are at most " + std::to_string(kChunk4));
    if (to.size() < size4(from.size(), 0))
        refuse("a part of " + std::to_string(to.size()) + " bytes does not fit " + chunk + ": it needs " +
               std::to_string(size4(from.size(), 0)) + ", and 4 for each escape");
    nb::gil_scoped_release free;
    return zipmoe::pack4(from.data(), from.size(), to.data(), to.size());
}

void unpack_exponents(nb::handle part, nb::handle exponents) {
    const Buffer from(part, Buffer::kRead), to(exponents, Buffer::kWrite);
    Chunk4 chunk;
    if (const std::string why = open4(from.data(), from.size(), chunk); !why.empty()) refuse(why);
    if (chunk.weights != to.size())
        refuse("a chunk of " + std::to_string(chunk.weights) + " weights for " + std::to_string(to.size()) +
               " exponents");
    nb::gil_scoped_release free;
    zipmoe::exponents4(chunk, to.data());
}

void unpack_rows(const Packed4& weight, const WriteArray& out, int threads, size_t row) {
    const Matrix4& from = weight.matrix();
    uint16_t* const to = words_of(out, "out");
    const size_t rows = out.shape(0), columns = out.shape(1), count = checked(threads);
    expect(columns == from.columns && row <= from.rows && rows <= from.rows - row, "out", zipmoe::shape_of(out),
           "weight", shape_of(from), ("rows from " + std::to_string(row) + " on").c_str());
    nb::gil_scoped_release free;
    zipmoe::unpack(from, row, rows, to, count);
}

void linear4(const ReadArray& x, const Packed4& weight, const WriteArray& out, int threads) {
    const Matrix from = zipmoe::matrix(x, "x");
    const Matrix4& w = weight.matrix();
    uint16_t* const to = words_of(out, "out");
    const size_t count = checked(threads);
    expect(w.columns == from.columns, "weight", shape_of(w), "x", zipmoe::shape_of(x), "x is [m, K], weight [N, K]");
    expect(out.shape(0) == from.rows && out.shape(1) == w.rows, "out", zipmoe::shape_of(out), "weight", shape_of(w),
           "weight is [N, K], out [m, N]");
    nb::gil_scoped_release free;
    zipmoe::linear(from, w, to, count);
}

Expert<Matrix4> expert_of(const ReadArray& x, const Packed4& gate_up, const Packed4& down, const WriteArray& out) {
    const Matrix from = zipmoe::matrix(x, "x");
    const Matrix4 &first = gate_up.matrix(), &last = down.matrix();
    expect(first.columns == from.columns, "gate_up", shape_of(first), "x", zipmoe::shape_of(x),
           "x is [m, H], gate_up [2I, H]");
    expect(last.rows == from.columns, "down", shape_of(last), "x", zipmoe::shape_of(x), "x is [m, H], down [H, I]");
    expect(first.rows == 2 * last.columns, "down", shape_of(last), "gate_up", shape_of(first),
           "gate_up is [2I, H], down [H, I]");
    expect(out.shape(0) == from.rows && out.shape(1) == from.columns, "out", zipmoe::shape_of(out), "x",
           zipmoe::shape_of(x), "both are [m, H]");
    return {from, first, last, words_of(out, "out")};
}

// Each a tuple (x, gate_up, down, out).
void experts4(nb::list experts, int threads) {
    const size_t count = checked(threads);
    std::vector<Expert<Matrix4>> all;
    std::vector<std::pair<ReadArray, WriteArray>> held;
    for (nb::handle each : experts) {
        const auto one = nb::cast<nb::tuple>(each);
        if (one.size() != 4) refuse("an expert is (x, gate_up, down, out), and this has " + std::to_string(one.size()));
        const auto& [x, out] = held.emplace_back(nb::cast<ReadArray>(one[0], false), nb::cast<WriteArray>(one[3], false));
        all.push_back(expert_of(x, nb::cast<const Packed4&>(one[1]), nb::cast<const Packed4&>(one[2]), out));
    }
    nb::gil_scoped_release free;
    feed_forward(all, count);
}

void expert4(const ReadArray& x, const Packed4& gate_up, const Packed4& down, const WriteArray& out, int threads) {
    const size_t count = checked(threads);
    const Expert<Matrix4> one = expert_of(x, gate_up, down, out);
    nb::gil_scoped_release free;
    feed_forward(std::vector{one}, count);
}

}  // namespace

void define4(nb::module_& module) {
    nb::class_<Packed4>(module, "Packed4")
        .def(nb::init<nb::handle, nb::handle, size_t, size_t, size_t>(), nb::arg("sign_mantissa"), nb::arg("parts"),
             nb::arg("first"), nb::arg("rows"), nb::arg("columns"))
        .def_prop_ro("rows", [](const Packed4& self) { return self.matrix().rows; })
        .def_prop_ro("columns", [](const Packed4& self) { return self.matrix().columns; });
    module.def("size4", &size4, nb::arg("weights"), nb::arg("escapes") = 0);
    module.def("pack4", &pack_chunk, nb::arg("exponents"), nb::arg("part"));
    module.def("exponents4", &unpack_exponents, nb::arg("part"), nb::arg("exponents"));
    module.def("unpack4", &unpack_rows, nb::arg("weight"), nb::arg("out").noconvert(), nb::arg("threads"),
               nb::arg("row") = 0);
    module.def("linear4", &linear4, nb::arg("x").noconvert(), nb::arg("weight"), nb::arg("out").noconvert(),
               nb::arg("threads"));
    module.def("experts4", &experts4, nb::arg("experts"), nb::arg("threads"));
    module.def("expert4", &expert4, nb::arg("x").noconvert(), nb::arg("gate_up"), nb::arg("down"),
               nb::arg("out").noconvert(), nb::arg("threads"));
}

}  // namespace zipmoe
