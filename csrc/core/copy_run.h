// Copies of a few dozen bytes, too short for a call of memcpy.
#pragma once

#include <cstddef>
#include <cstring>

namespace annx {

// The end is copied twice rather than byte by byte; n is at least Block.
template <size_t Block>
void copy_blocks(char* to, const char* from, size_t n) {
  typedef char Chunk __attribute__((vector_size(16), aligned(1)));
  const auto copy = [&](size_t at) {
    Chunk chunk[Block / 16];
    for (size_t k = 0; k < Block / 16; ++k)
      chunk[k] = *reinterpret_cast<const Chunk*>(from + at + 16 * k);
    for (size_t k = 0; k < Block / 16; ++k) *reinterpret_cast<Chunk*>(to + at + 16 * k) = chunk[k];
  };
  for (size_t at = 0; at + Block < n; at += Block) copy(at);
  copy(n - Block);
}

inline void copy_run(char* to, const char* from, size_t n) {
  if (n >= 64 && n <= 512)
    copy_blocks<64>(to, from, n);
  else if (n >= 16 && n < 64)
    copy_blocks<16>(to, from, n);
  else
    std::memcpy(to, from, n);
}

}  // namespace annx
