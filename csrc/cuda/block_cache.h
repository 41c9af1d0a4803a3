// The caching allocator of one device: blocks go back to lists by rounded size and come out again,
// most recently used first. Work of a device runs on one stream, so a block may be handed out again
// while the kernel that last used it is still queued. Plain C++, tested on the CPU.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace annx::cuda {

// Source gives and takes memory: `bool take(size_t bytes, void** out)` is false when there is none
// left, `void give(void* block)`.
template <class Source>
class BlockCache {
 public:
  static constexpr size_t kStep = 512;                    // of small sizes, and the alignment
  static constexpr size_t kSlabBlock = size_t{64} << 10;  // up to this size blocks share slabs
  static constexpr size_t kSlab = size_t{2} << 20;

  explicit BlockCache(Source source) : source_(source) {}

  // Multiples of 512 bytes, then eighths of a power of two: at most an eighth is lost.
  static size_t rounded(size_t bytes) {
    size_t step = kStep;
    while (bytes > step * 16) step *= 2;
    return bytes == 0 ? kStep : (bytes + step - 1) / step * step;
  }

  // False when the source has nothing left, not even after the cache was emptied.
  bool allocate(size_t bytes, void** out) {
    const size_t size = rounded(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    void* block = pop(size);
    if (!block) block = size <= kSlabBlock ? from_slab(size) : from_source(size);
    if (!block) return false;
    live_[block] = {size, bytes};
    current_ += static_cast<int64_t>(bytes);
    peak_ = std::max(peak_, current_);
    *out = block;
    return true;
  }

  // False for a block that is not ours.
  bool deallocate(void* block) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto it = live_.find(block);
    if (it == live_.end()) return false;
    current_ -= static_cast<int64_t>(it->second.bytes);
    free_[it->second.size].push_back(block);
    live_.erase(it);
    return true;
  }

  // Gives whole free blocks back; slabs stay. The device must be idle.
  void empty() {
    std::lock_guard<std::mutex> lock(mutex_);
    drop_free();
  }

  struct Stats {
    int64_t current, peak, reserved;
  };
  Stats stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    return {current_, peak_, reserved_};
  }

 private:
  struct Live {
    size_t size, bytes;
  };

  void* pop(size_t size) {
    const auto it = free_.find(size);
    if (it == free_.end() || it->second.empty()) return nullptr;
    void* block = it->second.back();
    it->second.pop_back();
    return block;
  }

  void* from_source(size_t size) {
    void* block = nullptr;
    if (!source_.take(size, &block)) {
      drop_free();
      if (!source_.take(size, &block)) return nullptr;
    }
    reserved_ += static_cast<int64_t>(size);
    return block;
  }

  void* from_slab(size_t size) {
    if (slab_left_ < size) {
      void* slab = from_source(kSlab);
      if (!slab) return nullptr;
      slab_ = static_cast<char*>(slab);
      slab_left_ = kSlab;
    }
    void* block = slab_;
    slab_ += size;
    slab_left_ -= size;
    return block;
  }

  void drop_free() {
    for (auto& [size, blocks] : free_) {
      if (size <= kSlabBlock) continue;
      for (void* block : blocks) {
        source_.give(block);
        reserved_ -= static_cast<int64_t>(size);
      }
      blocks.clear();
    }
  }

  Source source_;
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;
  std::unordered_map<void*, Live> live_;
  char* slab_ = nullptr;  // the rest of the newest slab
  size_t slab_left_ = 0;
  int64_t current_ = 0, peak_ = 0, reserved_ = 0;
};

}  // namespace annx::cuda
