// The CPU allocator: caching, aligned to 64 bytes, thread-safe.
//
// Small blocks (up to kMaxSmallBytes) come from per-thread free lists over slabs of one size class;
// larger ones from a bounded cache of free blocks, least recently used out first. A block goes back
// with the size it was asked for. Compiled with ANNX_RED_ZONES, every block stands between guard
// bytes that are checked when it is freed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace annx {

inline constexpr size_t kAllocatorAlignment = 64;

// Never null: a request of 0 bytes gets a block too. Throws annx::Error (memory) when the size is
// absurd or the system has no memory left.
void* allocate(size_t bytes);
// `bytes` is what allocate was given. A null pointer is ignored.
void deallocate(void* block, size_t bytes) noexcept;

// count * itemsize; throws annx::Error (memory) instead of wrapping.
size_t checked_bytes(int64_t count, size_t itemsize);

struct AllocatorStats {
  int64_t current_bytes = 0;   // asked for and not yet freed
  int64_t peak_bytes = 0;      // highest current_bytes; exact while one thread allocates
  int64_t cached_bytes = 0;    // free, kept for reuse, small and large
  int64_t reserved_bytes = 0;  // held from the system: in use, cached and lost to rounding
  int64_t allocations = 0;     // since the start
  int64_t deallocations = 0;
  int64_t system_allocations = 0;  // of these, how many had to ask the system for memory
};
AllocatorStats allocator_stats();
// Peak := current.
void reset_peak_stats();

// Gives free blocks back to the system: all of the shared cache and of this thread's lists.
void empty_cache();

// Gives so many bytes of free large blocks back, those unused for longest first: for who is about to
// hold one block in place of many.
void shrink_cache(size_t bytes);

// The bound on free large blocks; also never more than the most bytes ever in use at once.
// Default 256 MiB, or ANNX_CACHE_BYTES.
size_t cache_limit();
void set_cache_limit(size_t bytes);

// Reads ANNX_CACHE_BYTES; called at module import so that a bad value is an error there.
void init_allocator_from_env();

// True when compiled with ANNX_RED_ZONES.
bool red_zones_enabled();
// Looks at the guard bytes of every live block, and at what frees have found since the last call.
// Throws annx::Error (runtime) naming the first damaged block. Does nothing without red zones.
void check_red_zones();

}  // namespace annx
