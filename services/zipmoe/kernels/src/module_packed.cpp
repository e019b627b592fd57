#include "modules.h"

#include <nanobind/stl/optional.h>

#include <string>
#include <utility>
#include <vector>

#include "array.h"
#include "buffer.h"
#include "matrix.h"
#include "mixture.h"
#include "packed.h"
#include "thread_pool.h"

namespace nb = nanobind;

namespace zipmoe {
namespace {

std::string shape_of(const PackedMatrix& matrix) {
    std::string text = "[";
    return text.append(std::to_string(matrix.rows)).append(", ").append(std::to_string(matrix.columns)).append("]");
}

// A matrix in a packed run. Checked once, when it is made; it holds both buffers.
class Packed {
public:
    Packed(nb::handle sign_mantissa, nb::handle parts, size_t first, size_t rows, size_t columns)
        : sign_mantissa_(sign_mantissa, Buffer::kRead), parts_(parts, Buffer::kRead) {
        const size_t weights = sign_mantissa_.size();
        matrix_ = {{}, first, rows, columns};
        if (const std::string why = open(parts_.data(), parts_.size(), weights, chunks_); !why.empty()) refuse(why);
        if (first > weights || (columns != 0 && rows > (weights - first) / columns))
            refuse("a matrix " + shape_of(matrix_) + " from weight " + std::to_string(first) +
                   " on does not fit a run of " + std::to_string(weights) + " weights");
        matrix_.run = {sign_mantissa_.data(), chunks_.data()};
    }
    const PackedMatrix& matrix() const { return matrix_; }

private:
    Buffer sign_mantissa_, parts_;
    std::vector<Chunk> chunks_;
    PackedMatrix matrix_;
};

uint32_t checked_bits(int bits) {
    if (bits != static_cast<int>(Form3::kBits) && bits != static_cast<int>(Form4::kBits))
        refuse("codes of " + std::to_string(bits) + " bits: there are 3 and 4");
    return static_cast<uint32_t>(bits);
}

std::optional<size_t> pack_chunk(int bits, nb::handle exponents, nb::handle part) {
    const Buffer from(exponents, Buffer::kRead), to(part, Buffer::kWrite);
    const uint32_t form = checked_bits(bits);
    if (from.size() > kChunk)
        refuse("a chunk of " + std::to_string(from.size()) + " weights: there are at most " + std::to_string(kChunk));
    nb::gil_scoped_release free;
    return zipmoe::pack(form, from.data(), from.size(), to.data(), to.size());
}

size_t unpack_exponents(nb::handle part, nb::handle exponents) {
    const Buffer from(part, Buffer::kRead), to(exponents, Buffer::kWrite);
    Chunk chunk;
    size_t used;
    if (const std::string why = open(from.data(), from.size(), chunk, used); !why.empty()) refuse(why);
    if (chunk.weights != to.size())
        refuse("a chunk of " + std::to_string(chunk.weights) + " weights for " + std::to_string(to.size()) +
               " exponents");
    nb::gil_scoped_release free;
    exponents_of(chunk, to.data());
    return used;
}

void unpack_rows(const Packed& weight, const WriteArray& out, int threads, size_t row) {
    const PackedMatrix& from = weight.matrix();
    uint16_t* const to = words_of(out, "out");
    const size_t rows = out.shape(0), columns = out.shape(1), count = checked(threads);
    expect(columns == from.columns && row <= from.rows && rows <= from.rows - row, "out", zipmoe::shape_of(out),
           "weight", shape_of(from), ("rows from " + std::to_string(row) + " on").c_str());
    nb::gil_scoped_release free;
    zipmoe::unpack(from, row, rows, to, count);
}

Product<PackedMatrix> product_of(const ReadArray& x, const Packed& weight, const WriteArray& out) {
    const Matrix from = zipmoe::matrix(x, "x");
    const PackedMatrix& w = weight.matrix();
    expect(w.columns == from.columns, "weight", shape_of(w), "x", zipmoe::shape_of(x), "x is [m, K], weight [N, K]");
    expect(out.shape(0) == from.rows && out.shape(1) == w.rows, "out", zipmoe::shape_of(out), "weight", shape_of(w),
           "weight is [N, K], out [m, N]");
    return {w, words_of(out, "out")};
}

void linear_packed(const ReadArray& x, const Packed& weight, const WriteArray& out, int threads) {
    const size_t count = checked(threads);
    const Product<PackedMatrix> one = product_of(x, weight, out);
    nb::gil_scoped_release free;
    zipmoe::linears(zipmoe::matrix(x, "x"), {one}, count);
}

// Each a tuple (weight, out).
void linears_packed(const ReadArray& x, nb::list products, int threads) {
    const size_t count = checked(threads);
    std::vector<Product<PackedMatrix>> all;
    std::vector<WriteArray> held;
    for (nb::handle each : products) {
        const auto one = nb::cast<nb::tuple>(each);
        if (one.size() != 2) refuse("a product is (weight, out), and this has " + std::to_string(one.size()));
        const auto& out = held.emplace_back(nb::cast<WriteArray>(one[1], false));
        all.push_back(product_of(x, nb::cast<const Packed&>(one[0]), out));
    }
    nb::gil_scoped_release free;
    zipmoe::linears(zipmoe::matrix(x, "x"), all, count);
}

Expert<PackedMatrix> expert_of(const ReadArray& x, const Packed& gate_up, const Packed& down, const WriteArray& out) {
    const Matrix from = zipmoe::matrix(x, "x");
    const PackedMatrix &first = gate_up.matrix(), &last = down.matrix();
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
void experts(nb::list experts, int threads) {
    const size_t count = checked(threads);
    std::vector<Expert<PackedMatrix>> all;
    std::vector<std::pair<ReadArray, WriteArray>> held;
    for (nb::handle each : experts) {
        const auto one = nb::cast<nb::tuple>(each);
        if (one.size() != 4) refuse("an expert is (x, gate_up, down, out), and this has " + std::to_string(one.size()));
        const auto& [x, out] = held.emplace_back(nb::cast<ReadArray>(one[0], false), nb::cast<WriteArray>(one[3], false));
        all.push_back(expert_of(x, nb::cast<const Packed&>(one[1]), nb::cast<const Packed&>(one[2]), out));
    }
    nb::gil_scoped_release free;
    feed_forward(all, count);
}

// `layer` has of each of its experts a tuple (gate_up, down). `chosen` are numbers of them.
void mixture_packed(const ReadArray& x, const Numbers<const int64_t>& chosen, const Numbers<const float>& shares,
                    const nb::sequence& layer, const WriteArray& out, int threads) {
    const Matrix from = zipmoe::matrix(x, "x");
    uint16_t* const to = words_of(out, "out");
    const size_t count = checked(threads), k = chosen.ndim() == 2 ? chosen.shape(1) : 0;
    expect(chosen.ndim() == 2 && chosen.shape(0) == from.rows && shares.size() == from.rows * k, "chosen",
           zipmoe::shape_of(chosen), "x", zipmoe::shape_of(x), "x is [T, H], chosen and shares [T, k]");
    std::vector<ExpertWeights> experts(nb::len(layer));
    for (size_t i = 0; i < chosen.size(); ++i) {
        const auto number = static_cast<size_t>(chosen.data()[i]);
        if (number >= experts.size())
            refuse("expert " + std::to_string(chosen.data()[i]) + " is not in a layer of " +
                   std::to_string(experts.size()));
        if (experts[number].down.rows) continue;
        const auto one = nb::cast<nb::tuple>(layer[number]);
        if (one.size() != 2) refuse("an expert is (gate_up, down), and this has " + std::to_string(one.size()));
        const Expert<PackedMatrix> fits = expert_of(x, nb::cast<const Packed&>(one[0]), nb::cast<const Packed&>(one[1]), out);
        experts[number] = {fits.gate_up, fits.down};
    }
    nb::gil_scoped_release free;
    mixture(from, {chosen.data(), shares.data(), k}, experts, to, count);
}

void expert_packed(const ReadArray& x, const Packed& gate_up, const Packed& down, const WriteArray& out, int threads) {
    const size_t count = checked(threads);
    const Expert<PackedMatrix> one = expert_of(x, gate_up, down, out);
    nb::gil_scoped_release free;
    feed_forward(std::vector{one}, count);
}

}  // namespace

void define_packed(nb::module_& module) {
    nb::class_<Packed>(module, "Packed")
        .def(nb::init<nb::handle, nb::handle, size_t, size_t, size_t>(), nb::arg("sign_mantissa"), nb::arg("parts"),
             nb::arg("first"), nb::arg("rows"), nb::arg("columns"))
        .def_prop_ro("rows", [](const Packed& self) { return self.matrix().rows; })
        .def_prop_ro("columns", [](const Packed& self) { return self.matrix().columns; });
    module.def("most_bytes", [](int bits, size_t weights) { return most_bytes(checked_bits(bits), weights); },
               nb::arg("bits"), nb::arg("weights"));
    module.def("pack", &pack_chunk, nb::arg("bits"), nb::arg("exponents"), nb::arg("part"));
    module.def("unpack_exponents", &unpack_exponents, nb::arg("part"), nb::arg("exponents"));
    module.def("unpack", &unpack_rows, nb::arg("weight"), nb::arg("out").noconvert(), nb::arg("threads"),
               nb::arg("row") = 0);
    module.def("linear", &linear_packed, nb::arg("x").noconvert(), nb::arg("weight"), nb::arg("out").noconvert(),
               nb::arg("threads"));
    module.def("linears", &linears_packed, nb::arg("x").noconvert(), nb::arg("products"), nb::arg("threads"));
    module.def("expert", &expert_packed, nb::arg("x").noconvert(), nb::arg("gate_up"), nb::arg("down"),
               nb::arg("out").noconvert(), nb::arg("threads"));
    module.def("mixture", &mixture_packed, nb::arg("x").noconvert(), nb::arg("chosen").noconvert(),
               nb::arg("shares").noconvert(), nb::arg("layer"), nb::arg("out").noconvert(), nb::arg("threads"));
    module.def("experts", &experts, nb::arg("experts"), nb::arg("threads"));
}

}  // namespace zipmoe
