#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <type_traits>
#include <vector>

namespace zipmoe {

// A few threads that wait for the next job, first spinning for some microseconds, then asleep.
//
// - A job is a number of tiles; whoever is free takes the next few. So a thread that wakes late, because something else
//   has its core, costs nothing: the caller, who takes part, does its share. The caller waits for tiles, not threads.
// - With one thread the caller does all, and no thread is started.
// - Threads start when they are first needed and live as long as the process; a forked child starts its own.
// - Callers on several threads take turns.
class ThreadPool {
public:
    static constexpr size_t kMost = 64;

    static ThreadPool& instance();

    // Call act(first, last) for ranges that together are [0, tiles), on up to `threads` threads; return when all are
    // done. `act` must not throw. threads <= kMost.
    template <typename Act>
    void run(size_t tiles, size_t threads, Act&& act) {
        if (threads == 1 || tiles == 1) {
            act(size_t{0}, tiles);
        } else {
            using Plain = std::remove_reference_t<Act>;
            const Call call = [](void* job, size_t first, size_t last) { (*static_cast<Plain*>(job))(first, last); };
            share(tiles, threads, call, &act);
        }
    }

private:
    using Call = void (*)(void* job, size_t first, size_t last);

    struct Worker {
        std::atomic<uint32_t> turn{0};
    };

    void share(size_t tiles, size_t threads, Call call, void* job);
    void serve(Worker& worker);
    void take_tiles();

    std::mutex turn_;
    std::vector<std::unique_ptr<Worker>> workers_;
    // Of the current job. Read only between taking a tile and finishing it, and `share` does not return before then.
    Call call_ = nullptr;
    void* job_ = nullptr;
    uint32_t tiles_ = 0;
    std::atomic<uint32_t> threads_{1};  // a guess at a fair share, so also read by who comes late
    std::atomic<uint32_t> untaken_{0};
    std::atomic<uint32_t> unfinished_{0};
};

}  // namespace zipmoe
