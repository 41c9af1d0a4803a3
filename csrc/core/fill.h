// One element again and again: memory set to a value of any dtype.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace annx {

// Sets n elements of `size` bytes (1, 2, 4 or 8) to the one at `value`.
inline void fill_elements(void* out, const void* value, size_t size, int64_t n) {
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
  // What stands already is copied on, twice as much each time: the library's copies are wider than
  // what this file may be compiled to.
  constexpr size_t kBlock = 4096;
  size_t at = bytes < sizeof pattern ? bytes : sizeof pattern;
  std::memcpy(o, pattern, at);
  while (at < bytes) {
    const size_t have = at < kBlock ? at : kBlock;
    const size_t more = bytes - at < have ? bytes - at : have;
    std::memcpy(o + at, o, more);
    at += more;
  }
}

}  // namespace annx
