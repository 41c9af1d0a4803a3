// The caching allocator: classes, reuse, bound, order of eviction, threads, red zones, limits, fork.
#include "core/allocator.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "core/tensor.h"

using annx::allocate;
using annx::allocator_stats;
using annx::deallocate;
using annx::Error;

namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kSizes[] = {0,    1,    63,   64,   65,    127,     128,           1000,
                             4095, 4096, 4097, 5000, 65536, 1 << 20, (1 << 20) + 1, 3 << 20};
// What red zones add to a block.
const size_t kGuards = annx::red_zones_enabled() ? 2 * annx::kAllocatorAlignment : 0;

struct Block {
  void* memory;
  size_t bytes;
};

Block take(size_t bytes) { return {allocate(bytes), bytes}; }
void give(const Block& b) { deallocate(b.memory, b.bytes); }

// Restores the bound on the cache that a test changes.
struct LimitGuard {
  size_t before = annx::cache_limit();
  ~LimitGuard() {
    annx::set_cache_limit(before);
    annx::empty_cache();
  }
};

int run_in_child(int (*body)()) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

TEST(blocks_are_aligned_apart_and_as_large_as_asked) {
  std::vector<Block> blocks;
  for (int round = 0; round < 3; ++round)
    for (size_t bytes : kSizes) blocks.push_back(take(bytes));
  for (size_t i = 0; i < blocks.size(); ++i) {
    CHECK(blocks[i].memory != nullptr);
    CHECK_EQ(reinterpret_cast<uintptr_t>(blocks[i].memory) % annx::kAllocatorAlignment, 0u);
    std::memset(blocks[i].memory, static_cast<int>(i + 1), blocks[i].bytes);
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto* p = static_cast<const unsigned char*>(blocks[i].memory);
    const bool own =
        std::all_of(p, p + blocks[i].bytes, [&](unsigned char v) { return v == i + 1; });
    CHECK_MSG(own, "block " << i << " of " << blocks[i].bytes << " bytes was written by another");
  }
  annx::check_red_zones();
  for (const Block& b : blocks) give(b);
}

TEST(no_bytes_are_a_block_of_their_own) {
  const Block a = take(0), b = take(0);
  CHECK(a.memory != nullptr);
  CHECK(a.memory != b.memory);
  give(a);
  give(b);
  deallocate(nullptr, 0);
  deallocate(nullptr, 64);
}

TEST(a_freed_block_is_the_next_of_its_class) {
  for (size_t bytes : {size_t{1}, size_t{64}, size_t{700}, 2 * kMiB}) {
    const Block first = take(bytes);
    give(first);
    const Block again = take(bytes);
    CHECK_MSG(again.memory == first.memory, bytes << " bytes");
    give(again);
  }
  // 65 and 128 bytes are of one class, 64 and 65 are not.
  const Block small = take(65);
  give(small);
  const Block same = take(128);
  CHECK(same.memory == small.memory);
  give(same);
  const Block other = take(64);
  CHECK(other.memory != small.memory);
  give(other);
}

TEST(steady_work_asks_the_system_for_nothing) {
  auto step = [] {
    std::vector<Block> blocks;
    for (size_t bytes : kSizes) blocks.push_back(take(bytes));
    for (const Block& b : blocks) give(b);
  };
  step();
  const int64_t before = allocator_stats().system_allocations;
  for (int i = 0; i < 100; ++i) step();
  CHECK_EQ(allocator_stats().system_allocations, before);
}

TEST(statistics_add_up) {
  const annx::AllocatorStats before = allocator_stats();
  std::vector<Block> blocks;
  size_t total = 0;
  for (size_t bytes : kSizes) {
    blocks.push_back(take(bytes));
    total += bytes + kGuards;
  }
  const annx::AllocatorStats during = allocator_stats();
  CHECK_EQ(during.current_bytes - before.current_bytes, static_cast<int64_t>(total));
  CHECK(during.peak_bytes >= during.current_bytes);
  CHECK(during.reserved_bytes >= during.current_bytes);
  CHECK_EQ(during.allocations - before.allocations, static_cast<int64_t>(std::size(kSizes)));
  for (const Block& b : blocks) give(b);
  const annx::AllocatorStats after = allocator_stats();
  CHECK_EQ(after.current_bytes, before.current_bytes);
  CHECK_EQ(after.deallocations - before.deallocations, static_cast<int64_t>(std::size(kSizes)));
}

TEST(the_cache_of_large_blocks_is_bounded) {
  const LimitGuard guard;
  annx::set_cache_limit(8 * kMiB);
  std::vector<Block> blocks;
  for (int i = 0; i < 16; ++i) blocks.push_back(take(2 * kMiB));
  for (const Block& b : blocks) give(b);
  blocks.clear();
  annx::empty_cache();
  const int64_t bare = allocator_stats().reserved_bytes;
  for (int i = 0; i < 16; ++i) blocks.push_back(take(2 * kMiB));
  for (const Block& b : blocks) {
    give(b);
    const int64_t held = allocator_stats().reserved_bytes - bare;
    const int64_t in_use = allocator_stats().current_bytes;
    // Blocks are rounded up by an eighth at most.
    CHECK_MSG(held <= in_use / 8 * 9 + static_cast<int64_t>(8 * kMiB), held << " bytes held");
  }
  CHECK(allocator_stats().reserved_bytes - bare <= static_cast<int64_t>(9 * kMiB));
  annx::set_cache_limit(0);
  CHECK_EQ(allocator_stats().reserved_bytes, bare);
  const Block b = take(3 * kMiB);
  give(b);
  CHECK_EQ(allocator_stats().reserved_bytes, bare);
}

TEST(the_block_unused_for_longest_goes_first) {
  const LimitGuard guard;
  annx::empty_cache();
  // Raises the peak of use, which bounds the cache too.
  give(take(16 * kMiB));
  annx::empty_cache();
  const Block a = take(kMiB), b = take(2 * kMiB), c = take(3 * kMiB);
  give(b);
  give(a);
  give(c);
  annx::set_cache_limit(5 * kMiB);  // one of the three has to go: b came back first
  const int64_t before = allocator_stats().system_allocations;
  const Block a2 = take(kMiB), c2 = take(3 * kMiB);
  CHECK_EQ(allocator_stats().system_allocations, before);
  const Block b2 = take(2 * kMiB);
  CHECK_EQ(allocator_stats().system_allocations, before + 1);
  CHECK(a2.memory == a.memory);
  CHECK(c2.memory == c.memory);
  for (const Block& x : {a2, b2, c2}) give(x);
}

TEST(sizes_that_change_make_do_with_what_others_left) {
  annx::empty_cache();
  const Block large = take(3 * kMiB);
  give(large);
  const int64_t before = allocator_stats().system_allocations,
                held = allocator_stats().reserved_bytes;
  const Block close = take(2 * kMiB + 300 * 1024);
  CHECK_EQ(allocator_stats().system_allocations, before);
  CHECK(close.memory == large.memory);
  const Block far = take(kMiB);  // nothing of its size is left
  CHECK_EQ(allocator_stats().system_allocations, before + 1);
  give(far);
  give(close);
  // It came back as what it is.
  const Block again = take(3 * kMiB);
  CHECK(again.memory == large.memory);
  CHECK_EQ(allocator_stats().system_allocations, before + 1);
  give(again);
  annx::empty_cache();
  CHECK(allocator_stats().reserved_bytes <= held - static_cast<int64_t>(3 * kMiB));
}

TEST(blocks_move_between_threads) {
  // One thread allocates, another frees, over and over: nothing may pile up.
  std::atomic<void*> handed{nullptr};
  constexpr int kRounds = 20000;
  constexpr size_t kBytes = 256;
  const int64_t before = allocator_stats().current_bytes;
  std::thread consumer([&] {
    for (int i = 0; i < kRounds; ++i) {
      void* p = nullptr;
      while (!(p = handed.exchange(nullptr))) std::this_thread::yield();
      CHECK_EQ(*static_cast<int*>(p), i);
      deallocate(p, kBytes);
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    void* p = allocate(kBytes);
    *static_cast<int*>(p) = i;
    while (handed.load()) std::this_thread::yield();
    handed.store(p);
  }
  consumer.join();
  CHECK_EQ(allocator_stats().current_bytes, before);
  CHECK(allocator_stats().reserved_bytes < static_cast<int64_t>(64 * kMiB));
}

TEST(many_threads_share_without_mixing_blocks) {
  const int64_t before = allocator_stats().current_bytes;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned id = 1; id <= 4; ++id) {
    threads.emplace_back([id, &wrong] {
      std::mt19937 random(id);
      std::vector<Block> mine;
      for (int i = 0; i < 4000; ++i) {
        if (mine.size() < 32 && random() % 3 != 0) {
          const size_t bytes = 1 + random() % (random() % 8 == 0 ? 200000 : 4096);
          mine.push_back(take(bytes));
          std::memset(mine.back().memory, static_cast<int>(id), bytes);
        } else if (!mine.empty()) {
          std::swap(mine[random() % mine.size()], mine.back());
          const auto* p = static_cast<const unsigned char*>(mine.back().memory);
          if (p[0] != id || p[mine.back().bytes - 1] != id) ++wrong;
          give(mine.back());
          mine.pop_back();
        }
      }
      for (const Block& b : mine) give(b);
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK_EQ(wrong.load(), 0);
  CHECK_EQ(allocator_stats().current_bytes, before);
  annx::check_red_zones();
}

TEST(a_thread_that_ends_leaves_its_blocks_to_others) {
  auto work = [] {
    std::vector<Block> blocks;
    for (int i = 0; i < 64; ++i) blocks.push_back(take(512));
    for (const Block& b : blocks) give(b);
  };
  std::thread(work).join();
  const int64_t before = allocator_stats().system_allocations;
  for (int i = 0; i < 50; ++i) std::thread(work).join();
  CHECK(allocator_stats().system_allocations <= before + 1);
}

TEST(sizes_that_cannot_be_are_errors_and_do_not_wrap) {
  CHECK_THROWS(allocate(SIZE_MAX), Error, "expected a size below 2**60 bytes");
  CHECK_THROWS(allocate(size_t{1} << 60), Error, "expected a size below 2**60 bytes");
  CHECK_THROWS(annx::checked_bytes(INT64_MAX, 8), Error, "expected a size below 2**60 bytes");
  CHECK_THROWS(annx::checked_bytes((int64_t{1} << 62) + 1, 4), Error, "elements of 4 bytes");
  CHECK_THROWS(annx::checked_bytes(-1, 4), Error, "but got -1 elements");
  CHECK_EQ(annx::checked_bytes(3, 8), 24u);
  using annx::Dims;
  using annx::DType;
  using annx::Tensor;
  CHECK_THROWS(Tensor::empty(Dims{int64_t{1} << 32, int64_t{1} << 32}, DType::f32), Error,
               "expected fewer than 2**59 elements");
  CHECK_THROWS(Tensor::empty(Dims{-2, 3}, DType::f32), Error, "non-negative sizes");
  // Within bounds of arithmetic, not of any machine: the system refuses.
  const annx::AllocatorStats before = allocator_stats();
  CHECK_THROWS(allocate((size_t{1} << 60) - 1), Error, "the system has no memory left");
  CHECK_THROWS(Tensor::empty(Dims{int64_t{1} << 50}, DType::f64), Error, "no memory left");
  CHECK_EQ(allocator_stats().current_bytes, before.current_bytes);
  CHECK(allocator_stats().reserved_bytes <= before.reserved_bytes);  // the cache went first
  CHECK_EQ(Tensor::empty(Dims{0, int64_t{1} << 40}, DType::f32).numel(), 0);
}

TEST(writes_outside_a_block_are_found) {
  if (!annx::red_zones_enabled()) return;
  for (size_t bytes : {size_t{1}, size_t{64}, size_t{100}, size_t{10000}}) {
    Block b = take(bytes);
    char* p = static_cast<char*>(b.memory);
    annx::check_red_zones();
    const char after = p[bytes];
    p[bytes] ^= 1;  // one past the end, seen while the block lives
    CHECK_THROWS(annx::check_red_zones(), Error, "a write outside a block of");
    p[bytes] = after;
    annx::check_red_zones();
    p[-1] ^= 1;  // one before the start, seen when it is freed
    give(b);
    CHECK_THROWS(annx::check_red_zones(), Error, "a write outside a block of");
    annx::check_red_zones();
  }
}

TEST(a_child_of_a_fork_allocates_while_the_parents_threads_did) {
  std::atomic<bool> stop{false};
  std::atomic<int> rounds[2] = {};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] {
      while (!stop) {
        const Block small = take(300), large = take(100000);
        give(small);
        give(large);
        ++rounds[i];
      }
    });
  }
  // A sanitizer's own allocator may be locked by a thread that begins.
  while (rounds[0] < 100 || rounds[1] < 100) std::this_thread::yield();
  int failed = 0;
  for (int i = 0; i < 40 && failed == 0; ++i) {
    failed += run_in_child([] {
                alarm(5);  // a lock left locked would wait for ever
                for (int k = 0; k < 200; ++k) {
                  const Block a = take(300), b = take(100000);
                  std::memset(a.memory, 1, a.bytes);
                  std::memset(b.memory, 2, b.bytes);
                  give(a);
                  give(b);
                }
                return 0;
              }) != 0;
  }
  stop = true;
  for (std::thread& t : threads) t.join();
  CHECK_EQ(failed, 0);
}

ANNX_TEST_MAIN()
