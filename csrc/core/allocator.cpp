#include "core/allocator.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/error.h"

namespace annx {

namespace {

constexpr size_t kStep = kAllocatorAlignment;
constexpr size_t kMaxSmallBytes = 4096;
constexpr int kSmallClasses = kMaxSmallBytes / kStep;
constexpr size_t kSlabBytes = 64 * 1024;
constexpr size_t kThreadBytes = 128 * 1024;  // of one size class kept by one thread
constexpr size_t kDefaultCacheLimit = size_t{256} << 20;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr int64_t kSlack = int64_t{4} << 20;
constexpr size_t kAbsurd = size_t{1} << 60;

struct FreeBlock {
  FreeBlock* next;
};

struct FreeList {
  FreeBlock* head = nullptr;
  int64_t count = 0;
  void push(void* p) {
    auto* b = static_cast<FreeBlock*>(p);
    b->next = head;
    head = b;
    ++count;
  }
  void* pop() {
    FreeBlock* b = head;
    if (b) {
      head = b->next;
      --count;
    }
    return b;
  }
};

// Counters of one thread, read by others without a lock.
struct Counters {
  std::atomic<int64_t> bytes{0}, allocations{0}, deallocations{0};
  static void add(std::atomic<int64_t>& a, int64_t v) {
    a.store(a.load(std::memory_order_relaxed) + v, std::memory_order_relaxed);
  }
};

struct ThreadCache {
  FreeList lists[kSmallClasses + 1];
  Counters counters;
};

struct LargeBlock {
  void* memory;
  uint64_t tick;  // when it came back: the lowest goes first
};

// What is left of the newest slab of a class. Blocks are cut off when they are needed: a page that no
// block has used costs nothing.
struct Slab {
  char* at = nullptr;
  size_t left = 0;
};

struct Central {
  std::mutex mutex;
  FreeList small[kSmallClasses + 1];
  Slab slabs[kSmallClasses + 1];
  std::vector<ThreadCache*> threads;
  std::map<size_t, std::vector<LargeBlock>> large;  // by rounded size
  std::unordered_map<void*, size_t> roomy;          // in use: those larger than asked for
  uint64_t tick = 0;
  int64_t large_cached = 0, large_current = 0, large_peak = 0, reserved = 0;
  int64_t retired_bytes = 0, retired_allocations = 0, retired_deallocations = 0;
  int64_t large_allocations = 0, large_deallocations = 0, system_allocations = 0;
  size_t limit = kDefaultCacheLimit;
  pthread_key_t key{};
};

#ifdef ANNX_RED_ZONES
constexpr size_t kGuard = kAllocatorAlignment;
constexpr unsigned char kGuardByte = 0xa5;

struct Guards {
  std::mutex mutex;
  std::unordered_map<char*, size_t> live;
  std::string damage;
};
Guards& guards() {
  static auto* g = new Guards;
  return *g;
}
#endif

// A fork while another thread holds a lock must not leave it locked in the child.
void lock_for_fork();
void unlock_after_fork();

// Never destroyed: blocks are freed until the very end of the process.
Central& central() {
  static Central* c = [] {
    auto* made = new Central;
    pthread_key_create(&made->key, [](void* p) {
      Central& all = central();
      auto* cache = static_cast<ThreadCache*>(p);
      std::lock_guard<std::mutex> lock(all.mutex);
      for (int i = 0; i <= kSmallClasses; ++i)
        while (void* b = cache->lists[i].pop()) all.small[i].push(b);
      all.retired_bytes += cache->counters.bytes;
      all.retired_allocations += cache->counters.allocations;
      all.retired_deallocations += cache->counters.deallocations;
      std::erase(all.threads, cache);
      delete cache;
    });
    pthread_atfork(lock_for_fork, unlock_after_fork, unlock_after_fork);
    return made;
  }();
  return *c;
}

void lock_for_fork() {
#ifdef ANNX_RED_ZONES
  guards().mutex.lock();
#endif
  central().mutex.lock();
}

void unlock_after_fork() {
  central().mutex.unlock();
#ifdef ANNX_RED_ZONES
  guards().mutex.unlock();
#endif
}

__attribute__((tls_model("initial-exec"))) thread_local ThreadCache* t_cache = nullptr;
thread_local bool t_finished = false;

// Null in a thread that is past its end: its last blocks go straight to the shared lists.
ThreadCache* make_cache() {
  struct Ending {
    ~Ending() {
      t_cache = nullptr;
      t_finished = true;
    }
  };
  if (t_finished) return nullptr;
  thread_local Ending ending;
  (void)ending;
  Central& all = central();
  auto* cache = new ThreadCache;
  pthread_setspecific(all.key, cache);
  std::lock_guard<std::mutex> lock(all.mutex);
  all.threads.push_back(cache);
  return t_cache = cache;
}

void* system_memory(size_t bytes) {
  void* p = std::aligned_alloc(kAllocatorAlignment, bytes);
  if (!p)
    fail(ErrorKind::memory, "allocator", "expected ", bytes,
         " bytes but the system has no memory left");
  return p;
}

// Sanitizers watch what comes from malloc.
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kMapped = SIZE_MAX;
#else
constexpr size_t kMapped = 64 * 1024;
#endif

size_t whole_pages(size_t bytes) {
  static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

// Null when there is none. Blocks from kMapped on are the system's own: among small ones in malloc's
// heap they would leave gaps, whose pages stay resident. One of whole huge pages is given to the kernel
// as such: a pass over it misses the TLB 512 times less often, and its first touch faults as much less.
void* large_memory(size_t size) {
  const bool huge = size >= kHugePage;
  void* p = nullptr;
  if (size < kMapped) {
    if (posix_memalign(&p, huge ? kHugePage : kAllocatorAlignment, size) != 0) return nullptr;
  } else {
    const size_t bytes = whole_pages(size), slack = huge ? kHugePage : 0;
    p = mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    if (huge) {
      char* const from = static_cast<char*>(p);
      const size_t ahead = (kHugePage - reinterpret_cast<uintptr_t>(from) % kHugePage) % kHugePage;
      if (ahead) munmap(from, ahead);
      if (slack > ahead) munmap(from + ahead + bytes, slack - ahead);
      p = from + ahead;
    }
  }
#ifdef MADV_HUGEPAGE
  if (huge) madvise(p, size / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return p;
}

void return_large(void* block, size_t size) {
  if (size < kMapped)
    std::free(block);
  else
    munmap(block, whole_pages(size));
}

// A block of class c with the lock held.
void* shared_small(Central& all, int c) {
  if (void* p = all.small[c].pop()) return p;
  const size_t size = static_cast<size_t>(c) * kStep;
  Slab& slab = all.slabs[c];
  if (slab.left < size) {
    slab = {static_cast<char*>(system_memory(kSlabBytes)), kSlabBytes};
    ++all.system_allocations;
    all.reserved += kSlabBytes;
  }
  char* const p = slab.at;
  slab.at += size;
  slab.left -= size;
  return p;
}

void* refill(ThreadCache* cache, int c) {
  Central& all = central();
  std::lock_guard<std::mutex> lock(all.mutex);
  void* p = shared_small(all, c);
  if (cache) {
    const int64_t batch = std::max<int64_t>(1, static_cast<int64_t>(8192 / (c * kStep)));
    for (int64_t i = 0; i < batch; ++i) {
      if (!all.small[c].head && all.slabs[c].left < static_cast<size_t>(c) * kStep) break;
      cache->lists[c].push(shared_small(all, c));
    }
  }
  return p;
}

void spill(FreeList& list, int c) {
  Central& all = central();
  std::lock_guard<std::mutex> lock(all.mutex);
  for (int64_t keep = list.count / 2; list.count > keep;) all.small[c].push(list.pop());
}

// Sizes grow in eighths of a power of two: at most an eighth is lost.
size_t round_large(size_t bytes) {
  size_t step = kMaxSmallBytes / 8;
  while (bytes > step * 16) step *= 2;
  return (bytes + step - 1) / step * step;
}

void evict(Central& all, int64_t bound) {
  while (all.large_cached > bound) {
    auto oldest = all.large.end();
    for (auto it = all.large.begin(); it != all.large.end(); ++it)
      if (!it->second.empty() &&
          (oldest == all.large.end() || it->second.front().tick < oldest->second.front().tick))
        oldest = it;
    if (oldest == all.large.end()) return;
    return_large(oldest->second.front().memory, oldest->first);
    oldest->second.erase(oldest->second.begin());
    all.large_cached -= static_cast<int64_t>(oldest->first);
    all.reserved -= static_cast<int64_t>(oldest->first);
    if (oldest->second.empty()) all.large.erase(oldest);
  }
}

void* allocate_large(size_t bytes) {
  Central& all = central();
  const size_t size = round_large(bytes);
  std::lock_guard<std::mutex> lock(all.mutex);
  ++all.large_allocations;
  all.large_current += static_cast<int64_t>(bytes);
  all.large_peak = std::max(all.large_peak, all.large_current);
  // Sizes that change from call to call make do with what others have left.
  for (auto it = all.large.lower_bound(size); it != all.large.end() && it->first <= size * 3 / 2;
       ++it) {
    if (it->second.empty()) continue;
    void* p = it->second.back().memory;  // the warmest one
    it->second.pop_back();
    all.large_cached -= static_cast<int64_t>(it->first);
    if (it->first != size) all.roomy[p] = it->first;
    return p;
  }
  void* p = large_memory(size);
  if (!p) {
    evict(all, 0);
    p = large_memory(size);
  }
  if (!p) {
    all.large_current -= static_cast<int64_t>(bytes);
    fail(ErrorKind::memory, "allocator", "expected ", bytes,
         " bytes but the system has no memory left");
  }
  ++all.system_allocations;
  all.reserved += static_cast<int64_t>(size);
  return p;
}

void deallocate_large(void* block, size_t bytes) {
  Central& all = central();
  size_t size = round_large(bytes);
  std::lock_guard<std::mutex> lock(all.mutex);
  if (const auto it = all.roomy.find(block); it != all.roomy.end()) {
    size = it->second;
    all.roomy.erase(it);
  }
  ++all.large_deallocations;
  all.large_current -= static_cast<int64_t>(bytes);
  all.large[size].push_back({block, all.tick++});
  all.large_cached += static_cast<int64_t>(size);
  // Somewhat more than was once in use, as not all sizes are needed at once: a program of small tensors
  // keeps a small cache.
  evict(all, std::min<int64_t>(static_cast<int64_t>(all.limit),
                               all.large_peak + all.large_peak / 4 + kSlack));
}

void* allocate_plain(size_t bytes) {
  if (bytes > kMaxSmallBytes) return allocate_large(bytes);
  const int c = bytes == 0 ? 1 : static_cast<int>((bytes + kStep - 1) / kStep);
  ThreadCache* cache = t_cache ? t_cache : make_cache();
  if (cache) {
    Counters::add(cache->counters.bytes, static_cast<int64_t>(bytes));
    Counters::add(cache->counters.allocations, 1);
    if (void* p = cache->lists[c].pop()) return p;
  }
  return refill(cache, c);
}

void deallocate_plain(void* block, size_t bytes) {
  if (bytes > kMaxSmallBytes) return deallocate_large(block, bytes);
  const int c = bytes == 0 ? 1 : static_cast<int>((bytes + kStep - 1) / kStep);
  ThreadCache* cache = t_cache ? t_cache : make_cache();
  if (!cache) {
    Central& all = central();
    std::lock_guard<std::mutex> lock(all.mutex);
    all.small[c].push(block);
    return;
  }
  Counters::add(cache->counters.bytes, -static_cast<int64_t>(bytes));
  Counters::add(cache->counters.deallocations, 1);
  FreeList& list = cache->lists[c];
  list.push(block);
  if (static_cast<size_t>(list.count) * static_cast<size_t>(c) * kStep > kThreadBytes)
    spill(list, c);
}

#ifdef ANNX_RED_ZONES
size_t guarded_size(size_t bytes) { return bytes + 2 * kGuard; }

bool intact(const char* p, size_t bytes) {
  for (size_t i = 0; i < kGuard; ++i)
    if (static_cast<unsigned char>(p[bytes + i]) != kGuardByte ||
        static_cast<unsigned char>(*(p - 1 - i)) != kGuardByte)
      return false;
  return true;
}

void note_damage(Guards& g, size_t bytes) {
  if (g.damage.empty()) g.damage = "a write outside a block of " + std::to_string(bytes) + " bytes";
}
#endif

}  // namespace

size_t checked_bytes(int64_t count, size_t itemsize) {
  size_t bytes = 0;
  ANNX_CHECK(count >= 0 && !__builtin_mul_overflow(static_cast<size_t>(count), itemsize, &bytes) &&
                 bytes < kAbsurd,
             memory, "allocator", "expected a size below 2**60 bytes but got ", count,
             " elements of ", itemsize, " bytes");
  return bytes;
}

void* allocate(size_t bytes) {
  ANNX_CHECK(bytes < kAbsurd, memory, "allocator", "expected a size below 2**60 bytes but got ",
             bytes);
#ifdef ANNX_RED_ZONES
  char* p = static_cast<char*>(allocate_plain(guarded_size(bytes)));
  std::memset(p, kGuardByte, kGuard);
  std::memset(p + kGuard + bytes, kGuardByte, kGuard);
  Guards& g = guards();
  std::lock_guard<std::mutex> lock(g.mutex);
  g.live[p + kGuard] = bytes;
  return p + kGuard;
#else
  return allocate_plain(bytes);
#endif
}

void deallocate(void* block, size_t bytes) noexcept {
  if (!block) return;
#ifdef ANNX_RED_ZONES
  char* p = static_cast<char*>(block);
  {
    Guards& g = guards();
    std::lock_guard<std::mutex> lock(g.mutex);
    if (!intact(p, bytes)) note_damage(g, bytes);
    g.live.erase(p);
  }
  deallocate_plain(p - kGuard, guarded_size(bytes));
#else
  deallocate_plain(block, bytes);
#endif
}

AllocatorStats allocator_stats() {
  Central& all = central();
  std::lock_guard<std::mutex> lock(all.mutex);
  AllocatorStats s;
  int64_t small = all.retired_bytes;
  s.allocations = all.retired_allocations + all.large_allocations;
  s.deallocations = all.retired_deallocations + all.large_deallocations;
  for (const ThreadCache* t : all.threads) {
    small += t->counters.bytes;
    s.allocations += t->counters.allocations;
    s.deallocations += t->counters.deallocations;
  }
  s.current_bytes = all.large_current + small;
  s.peak_bytes = std::max(all.large_peak + small, s.current_bytes);
  s.reserved_bytes = all.reserved;
  s.cached_bytes = std::max<int64_t>(all.reserved - s.current_bytes, all.large_cached);
  s.system_allocations = all.system_allocations;
  return s;
}

void reset_peak_stats() {
  Central& all = central();
  std::lock_guard<std::mutex> lock(all.mutex);
  all.large_peak = all.large_current;
}

void empty_cache() {
  Central& all = central();
  std::lock_guard<std::mutex> lock(all.mutex);
  evict(all, 0);
}

void shrink_cache(size_t bytes) {
  Central& all = central();
  std::lock_guard<std::mutex> lock(all.mutex);
  evict(all, std::max<int64_t>(0, all.large_cached - static_cast<int64_t>(bytes)));
}

size_t cache_limit() {
  Central& all = central();
  std::lock_guard<std::mutex> lock(all.mutex);
  return all.limit;
}

void set_cache_limit(size_t bytes) {
  Central& all = central();
  std::lock_guard<std::mutex> lock(all.mutex);
  all.limit = bytes;
  evict(all, static_cast<int64_t>(bytes));
}

void init_allocator_from_env() {
  const char* text = std::getenv("ANNX_CACHE_BYTES");
  if (!text || !*text) return;
  char* end = nullptr;
  const unsigned long long v = std::strtoull(text, &end, 10);
  ANNX_CHECK(*end == 0 && *text != '-' && v < kAbsurd, value, "ANNX_CACHE_BYTES",
             "expected a number of bytes but got '", text, "'");
  set_cache_limit(v);
}

bool red_zones_enabled() {
#ifdef ANNX_RED_ZONES
  return true;
#else
  return false;
#endif
}

void check_red_zones() {
#ifdef ANNX_RED_ZONES
  Guards& g = guards();
  std::string found;
  {
    std::lock_guard<std::mutex> lock(g.mutex);
    for (const auto& [p, bytes] : g.live)
      if (!intact(p, bytes)) note_damage(g, bytes);
    found = std::exchange(g.damage, {});
  }
  ANNX_CHECK(found.empty(), runtime, "red zone", "expected no write outside blocks but found ",
             found);
#endif
}

}  // namespace annx
