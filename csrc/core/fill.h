// One element again and again: memory set to a value of any dtype.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace annx {

// Sets n elements of `size` bytes (1, 2, 4 or 8) to the one at `value`.
inline void fill_elements(void* out, const void* value, size_t size, int64_t n) {
  if (n == 0) return;
  char pattern[64];
  bool one_byte = true;
  for (size_t i = 0; i < sizeof pattern; i += size) std::memcpy(pattern + i, value, size);
  for (size_t i = 1; i < size; ++i) one_byte = one_byte && pattern[i] == pattern[0];
  char* o = static_cast<char*>(out);
  const size_t bytes = static_cast<size_t>(n) * size;
  if (one_byte) {
    std::memset(o, pattern[0], bytes);
    return;
  }
  // Blocks that stay in L1 are stored, not copied: a copy would wait for the stores it reads. Behind
  // them the library's copies are wider than what this file may be compiled to.
  constexpr size_t kBlock = 4096;
  typedef char Chunk __attribute__((vector_size(16), aligned(1)));
  Chunk chunk;
  std::memcpy(&chunk, pattern, sizeof chunk);
  const size_t first = bytes < kBlock ? bytes : kBlock;
  size_t at = 0;
  for (; at + sizeof chunk <= first; at += sizeof chunk) *reinterpret_cast<Chunk*>(o + at) = chunk;
  std::memcpy(o + at, pattern, first - at);
  for (at = first; at < bytes; at += kBlock)
    std::memcpy(o + at, o, bytes - at < kBlock ? bytes - at : kBlock);
}

}  // namespace annx
