// Copies from any layout into dense memory of any order.
#include <algorithm>
#include <cstring>

#include "core/fill.h"
#include "core/layout.h"
#include "core/thread_pool.h"
#include "gemm/kernels.h"
#include "ops/cast/kernels.h"
#include "ops/elementwise/driver.h"

namespace annx {

namespace {

// A tensor to read, its dimensions in the order in which the result lies in memory and merged where
// it walks them as one.
struct Source {
  Dims shape, strides;
};

Source source_of(const Tensor& x, const Tensor& out) {
  const Dims strides = broadcast_strides(x, out.shape());
  Source s;
  for (int64_t i : memory_order(out.strides())) {
    const int d = static_cast<int>(i);
    const int64_t size = out.shape()[d], step = strides[d];
    if (size == 1) continue;
    if (!s.shape.empty() && s.strides.back() == step * size) {
      s.shape.back() *= size;
      s.strides.back() = step;
    } else {
      s.shape.push_back(size);
      s.strides.push_back(step);
    }
  }
  return s;
}

// Pieces of kBand columns of the transpositions that the outer dimensions count.
template <class T>
void transpose_pieces(const T* x, T* out, const Source& s, const GemmKernelsOf<T>& kernels) {
  constexpr int64_t kBand = 64;
  const int n = s.shape.size();
  const int64_t rows = s.shape[n - 1], cols = s.shape[n - 2];
  const int64_t bands = (cols + kBand - 1) / kBand;
  int64_t outer = 1;
  for (int i = 0; i < n - 2; ++i) outer *= s.shape[i];
  const int64_t grain = std::max<int64_t>(1, 16384 / (rows * std::min(cols, kBand)));
  parallel_for(outer * bands, grain, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece % bands * kBand;
      int64_t rest = piece / bands, at = first;
      T* to = out + rest * rows * cols + first * rows;
      for (int d = n - 3; d >= 0; --d) {
        at += rest % s.shape[d] * s.strides[d];
        rest /= s.shape[d];
      }
      kernels.transpose(rows, std::min(kBand, cols - first), x + at, s.strides[n - 1], to, rows);
    }
  });
}

// Whether the copy is a transposition of many elements.
bool is_transposition(const Source& s, int64_t count, size_t size) {
  const int n = s.shape.size();
  return count >= 64 && (size == 4 || size == 8) && n >= 2 && s.strides[n - 2] == 1 &&
         s.strides[n - 1] >= s.shape[n - 2];
}

void copy_stream(char* to, const char* from, size_t bytes) {
  size_t done = 0;
  if (reinterpret_cast<uintptr_t>(to) % 64 == 0) {
    const size_t half = bytes / 128 * 64;
    const void* in[] = {from, from + half};
    void* out[] = {to, to + half};
    cast_kernels().copy_stream(in, out, static_cast<int64_t>(half / 4), 0, nullptr);
    end_stream();
    done = 2 * half;
  }
  std::memcpy(to + done, from + done, bytes - done);
}

}  // namespace

bool gathers_slowly(const Tensor& x, const Tensor& out) {
  return x.shape() == out.shape() && x.numel() >= 4096 &&
         is_transposition(source_of(x, out), x.numel(), itemsize(out.dtype()));
}

void copy_elements(const Tensor& x, const Tensor& out) {
  const size_t size = itemsize(out.dtype());
  const int64_t n = out.numel();
  if (n == 0) return;
  const Source s = source_of(x, out);
  if (x.shape() == out.shape() && is_transposition(s, n, size)) {
    if (size == 4)
      return transpose_pieces(x.data<float>(), out.data<float>(), s, gemm_kernels().f32);
    return transpose_pieces(x.data<double>(), out.data<double>(), s, gemm_kernels().f64);
  }
  char* const to = static_cast<char*>(out.raw());
  const char* const from = static_cast<const char*>(x.raw());
  const bool aligned =
      (reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 4 == 0;
  const bool streams = aligned && out.nbytes() >= kStreamBytes;
  const bool linear = s.shape.empty() || (s.shape.size() == 1 && s.strides[0] == 1);
  auto copy = [=, &s](int64_t begin, int64_t end) {
    char* const first = to + static_cast<size_t>(begin) * size;
    const size_t bytes = static_cast<size_t>(end - begin) * size;
    if (!linear)
      gather_strided(first, from, size, s.shape, s.strides, begin, end - begin);
    else if (streams)
      copy_stream(first, from + static_cast<size_t>(begin) * size, bytes);
    else
      std::memcpy(first, from + static_cast<size_t>(begin) * size, bytes);
  };
  const int64_t grain = streams ? kStreamGrain : 65536;
  if (n <= grain) return copy(0, n);
  parallel_for(n, grain, copy);
}

}  // namespace annx
