#include "mixture.h"

#include <algorithm>
#include <numeric>

#include "activations.h"
#include "thread_pool.h"

namespace zipmoe {

void mixture(Matrix x, const Choice& choice, const std::vector<ExpertWeights>& experts, uint16_t* out, size_t threads) {
    const size_t hidden = x.columns, count = x.rows * choice.k;
    // Choices by expert, and a token's before the next one's.
    std::vector<size_t> order(count);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t one, size_t other) { return choice.experts[one] < choice.experts[other]; });
    thread_local std::vector<uint16_t> made;
    made.resize(count * hidden);
    std::vector<size_t> tokens(count);
    std::vector<Expert<PackedMatrix>> work;
    std::vector<std::vector<size_t>> of_token(x.rows);  // where in the order its choices are
    for (size_t at = 0; at < count; ++at) {
        tokens[at] = order[at] / choice.k;
        of_token[tokens[at]].push_back(at);
        const int64_t expert = choice.experts[order[at]];
        if (at && expert == choice.experts[order[at - 1]]) {
            ++work.back().x.rows;
            continue;
        }
        const ExpertWeights& weights = experts[static_cast<size_t>(expert)];
        work.push_back({{x, &tokens[at], 1}, weights.gate_up, weights.down, &made[at * hidden]});
    }
    feed_forward(work, threads);
    const uint16_t* const outputs = made.data();
    ThreadPool::instance().run(x.rows, threads, [&](size_t first, size_t last) {
        for (size_t token = first; token < last; ++token) {
            uint16_t* const sum = out + token * hidden;
            std::fill_n(sum, hidden, uint16_t{0});
            const int64_t row = 0;
            for (const size_t at : of_token[token])
                add_weighted(sum, hidden, &row, 1, outputs + at * hidden, choice.shares + order[at]);
        }
    });
}

}  // namespace zipmoe
