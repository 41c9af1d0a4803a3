// Memory for packed operands, kept by each thread from one product to the next.
#pragma once

#include <cstddef>

#include "core/allocator.h"

namespace annx {

class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { release(); }

  // At least `bytes` bytes, aligned to 64; what was in them is gone.
  void* reserve(size_t bytes) {
    if (bytes > bytes_) {
      release();
      data_ = allocate(bytes);
      bytes_ = bytes;
    }
    return data_;
  }

 private:
  void release() {
    if (data_ != nullptr) deallocate(data_, bytes_);
    data_ = nullptr;
    bytes_ = 0;
  }

  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace annx
