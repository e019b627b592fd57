#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>

#include "activations.h"
#include "array.h"
#include "modules.h"

namespace nb = nanobind;

namespace zipmoe {
namespace {

void norm_rows(const ReadArray& x, const ReadArray& weight, float epsilon, const WriteArray& out) {
    const uint16_t *const from = words_of(x, "x"), *const w = words_of(weight, "weight");
    uint16_t* const to = words_of(out, "out");
    expect(weight.shape(0) == 1 && weight.shape(1) == x.shape(1), "weight", shape_of(weight), "x", shape_of(x),
           "x is [T, W], weight [1, W]");
    expect(out.shape(0) == x.shape(0) && out.shape(1) == x.shape(1), "out", shape_of(out), "x", shape_of(x),
           "both are [T, W]");
    nb::gil_scoped_release free;
    norm(from, x.shape(0), x.shape(1), w, epsilon, to);
}

void rotate_rows(const WriteArray& x, size_t heads, const ReadArray& cosines, const ReadArray& sines) {
    uint16_t* const to = words_of(x, "x");
    const uint16_t *const c = words_of(cosines, "cosines"), *const s = words_of(sines, "sines");
    const size_t width = cosines.shape(1);
    for (const ReadArray* turns : {&cosines, &sines})
        expect(turns->shape(0) == x.shape(0) && turns->shape(1) == width && heads * width == x.shape(1) &&
                   width % 2 == 0,
               "cosines and sines", shape_of(*turns), "x", shape_of(x), "x is [T, N·D], they [T, D] with D even");
    nb::gil_scoped_release free;
    rotate(to, x.shape(0), heads, width, c, s);
}

void add_rows(const WriteArray& total, const ReadArray& other) {
    uint16_t* const to = words_of(total, "total");
    const uint16_t* const from = words_of(other, "other");
    expect(other.shape(0) == total.shape(0) && other.shape(1) == total.shape(1), "other", shape_of(other), "total",
           shape_of(total), "both are [T, W]");
    nb::gil_scoped_release free;
    add(to, from, total.shape(0) * total.shape(1));
}

// (rows, shares, x): of so many rows of a sum, what is added to each.
using Parts = std::vector<std::tuple<Numbers<const int64_t>, Numbers<const float>, ReadArray>>;

void mix_rows(const WriteArray& total, const Parts& parts) {
    uint16_t* const to = words_of(total, "total");
    for (const auto& [rows, shares, x] : parts) {
        words_of(x, "x");
        const size_t count = x.shape(0);
        expect(x.shape(1) == total.shape(1) && rows.size() == count && shares.size() == count, "x", shape_of(x),
               "total", shape_of(total), "total is [T, W], x [t, W], and there are t rows and t shares");
        for (size_t i = 0; i < count; ++i)
            if (rows.data()[i] < 0 || static_cast<size_t>(rows.data()[i]) >= total.shape(0))
                refuse("row " + std::to_string(rows.data()[i]) + " is not in total " + shape_of(total));
    }
    nb::gil_scoped_release free;
    std::fill_n(to, total.size(), uint16_t{0});
    for (const auto& [rows, shares, x] : parts)
        add_weighted(to, total.shape(1), rows.data(), x.shape(0), words_of(x, "x"), shares.data());
}

void route_rows(const ReadArray& logits, bool normalise, const Numbers<int64_t>& chosen, const Numbers<float>& shares) {
    const uint16_t* const from = words_of(logits, "logits");
    const size_t rows = logits.shape(0), k = chosen.ndim() == 2 ? chosen.shape(1) : 0;
    expect(chosen.ndim() == 2 && chosen.shape(0) == rows && k <= logits.shape(1) && shares.size() == rows * k,
           "chosen", shape_of(chosen), "logits", shape_of(logits),
           "logits are [T, E], chosen and shares [T, k], k at most E");
    nb::gil_scoped_release free;
    route(from, rows, logits.shape(1), k, normalise, chosen.data(), shares.data());
}

// (tokens, start, pages) of a sequence.
using Sequences = std::vector<std::tuple<size_t, size_t, Numbers<const int32_t>>>;

void attend_rows(const ReadArray& query, const ReadArray& key, const ReadArray& value, const WriteArray& keys,
                 const WriteArray& values, const Sequences& sequences, size_t page, size_t heads, float scale,
                 const WriteArray& out, int threads) {
    const uint16_t *const q = words_of(query, "query"), *const k = words_of(key, "key"), *const v = words_of(value, "value");
    uint16_t *const to_keys = words_of(keys, "keys"), *const to_values = words_of(values, "values");
    uint16_t* const to = words_of(out, "out");
    const size_t count = checked(threads), rows = query.shape(0), width = heads ? query.shape(1) / heads : 0;
    expect(width > 0 && width * heads == query.shape(1), "query", shape_of(query), "heads",
           std::to_string(heads), "it is [T, N·D] with N heads");
    const bool apart = values.shape(1) > 0;
    const size_t key_heads = keys.shape(1) / width, value_width = out.shape(1) / heads;
    expect(key_heads > 0 && key_heads * width == keys.shape(1) && heads % key_heads == 0 && value_width > 0 &&
               (apart ? key_heads * value_width == values.shape(1) : value_width <= width) &&
               keys.shape(0) == values.shape(0),
           "values", shape_of(values), "keys", shape_of(keys),
           "they are [R, M·D] and [R, M·V] or [R, 0], M a divisor of N");
    expect(key.shape(0) == rows && key.shape(1) == keys.shape(1) && value.shape(0) == rows &&
               value.shape(1) == values.shape(1),
           "key and value", shape_of(key) + " " + shape_of(value), "query", shape_of(query),
           "they are [T, M·D] and [T, M·V]");
    expect(out.shape(0) == rows && out.shape(1) == heads * value_width, "out", shape_of(out), "query", shape_of(query),
           "it is [T, N·V]");
    std::vector<Rows> each;
    size_t all = 0;
    for (const auto& [tokens, start, pages] : sequences) {
        expect(page > 0 && pages.size() * page >= start + tokens, "pages", std::to_string(pages.size()), "tokens",
               std::to_string(tokens), "they have room for start + tokens");
        for (size_t i = 0; i < pages.size(); ++i)
            if (pages.data()[i] < 0 || (static_cast<size_t>(pages.data()[i]) + 1) * page > keys.shape(0))
                refuse("page " + std::to_string(pages.data()[i]) + " is not in keys " + shape_of(keys));
        each.push_back({tokens, start, pages.data()});
        all += tokens;
    }
    expect(all == rows, "tokens of all sequences", std::to_string(all), "query", shape_of(query), "they are its T");
    const Cache cache{to_keys, apart ? to_values : nullptr, page, key_heads, width, value_width};
    nb::gil_scoped_release free;
    store(cache, each, k, v);
    attend(q, heads, cache, each, scale, to, count);
}

}  // namespace

void define_activations(nb::module_& module) {
    module.def("norm", &norm_rows, nb::arg("x").noconvert(), nb::arg("weight").noconvert(), nb::arg("epsilon"),
               nb::arg("out").noconvert());
    module.def("rotate", &rotate_rows, nb::arg("x").noconvert(), nb::arg("heads"), nb::arg("cosines").noconvert(),
               nb::arg("sines").noconvert());
    module.def("add", &add_rows, nb::arg("total").noconvert(), nb::arg("other").noconvert());
    module.def("mix", &mix_rows, nb::arg("total").noconvert(), nb::arg("parts").noconvert());
    module.def("route", &route_rows, nb::arg("logits").noconvert(), nb::arg("normalise"),
               nb::arg("chosen").noconvert(), nb::arg("shares").noconvert());
    module.def("attend", &attend_rows, nb::arg("query").noconvert(), nb::arg("key").noconvert(),
               nb::arg("value").noconvert(), nb::arg("keys").noconvert(), nb::arg("values").noconvert(),
               nb::arg("sequences"), nb::arg("page"), nb::arg("heads"), nb::arg("scale"),
               nb::arg("out").noconvert(), nb::arg("threads"));
}

}  // namespace zipmoe
