#include "thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace zipmoe {
namespace {

// About as long as a layer's work between two matrices, leases of experts included: a sleeper needs some 50 microseconds
// to wake. In time, because a pause is 40 cycles on one processor and 140 on another.
constexpr std::chrono::microseconds kAwake{150};
constexpr int kPauses = 32;  // between two looks at the clock

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

void wait_while(const std::atomic<uint32_t>& value, uint32_t old) {
    const auto asleep = std::chrono::steady_clock::now() + kAwake;
    do {
        for (int pause = 0; pause < kPauses; ++pause) {
            if (value.load(std::memory_order_acquire) != old) return;
            relax();
        }
    } while (std::chrono::steady_clock::now() < asleep);
    value.wait(old, std::memory_order_acquire);
}

// Never destroyed: its threads may be asleep in it when the process ends.
std::atomic<ThreadPool*> pool{nullptr};

}  // namespace

ThreadPool& ThreadPool::instance() {
    static std::once_flag once;
    std::call_once(once, [] {
        pool = new ThreadPool;
        pthread_atfork(nullptr, nullptr, [] { pool = new ThreadPool; });  // threads do not survive a fork
    });
    return *pool;
}

void ThreadPool::share(size_t tiles, size_t threads, Call call, void* job) {
    const std::lock_guard turn(turn_);
    while (workers_.size() + 1 < threads) {
        Worker& worker = *workers_.emplace_back(std::make_unique<Worker>());
        std::thread(&ThreadPool::serve, this, std::ref(worker)).detach();
    }
    call_ = call;
    job_ = job;
    tiles_ = static_cast<uint32_t>(tiles);
    threads_.store(static_cast<uint32_t>(threads), std::memory_order_relaxed);
    unfinished_.store(static_cast<uint32_t>(tiles), std::memory_order_relaxed);
    untaken_.store(static_cast<uint32_t>(tiles), std::memory_order_release);
    for (size_t i = 0; i + 1 < std::min(threads, tiles); ++i) {
        workers_[i]->turn.fetch_add(1, std::memory_order_release);
        workers_[i]->turn.notify_one();
    }
    take_tiles();
    while (const uint32_t left = unfinished_.load(std::memory_order_acquire)) wait_while(unfinished_, left);
}

void ThreadPool::serve(Worker& worker) {
    for (uint32_t turn = 0;;) {
        wait_while(worker.turn, turn);
        turn = worker.turn.load(std::memory_order_acquire);
        take_tiles();  // of this job, or if we are late of the next: both are right
    }
}

// Half of a fair share at once, in the order of the tiles: what one thread multiplies lies side by side in memory, so
// that what it asks for early is what it needs; and the last shares are single tiles, so that all end together.
void ThreadPool::take_tiles() {
    for (;;) {
        uint32_t left = untaken_.load(std::memory_order_acquire);
        if (left == 0) return;
        const uint32_t taken = std::max(1u, left / (2 * threads_.load(std::memory_order_relaxed)));
        if (!untaken_.compare_exchange_weak(left, left - taken, std::memory_order_acq_rel)) continue;
        call_(job_, tiles_ - left, tiles_ - left + taken);
        if (unfinished_.fetch_sub(taken, std::memory_order_acq_rel) == taken) unfinished_.notify_one();
    }
}

}  // namespace zipmoe
