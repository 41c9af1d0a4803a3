// Reductions in plain C++: integers, bools, and products, which are not worth kernels of their own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "ops/reduce/span.h"

namespace annx::reduce {

// Integer sums and products wrap around, as NumPy's do.
struct PlainSum {
  template <class T>
  static constexpr T identity = T(0);
  static int64_t apply(int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
};
struct PlainProduct {
  template <class T>
  static constexpr T identity = T(1);
  static int64_t apply(int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  }
  static double apply(double a, double b) { return a * b; }
};
struct PlainMax {
  template <class T>
  static constexpr T identity = std::numeric_limits<T>::lowest();
  template <class T>
  static T apply(T a, T b) {
    return a > b ? a : b;
  }
};
struct PlainMin {
  template <class T>
  static constexpr T identity = std::numeric_limits<T>::max();
  template <class T>
  static T apply(T a, T b) {
    return a < b ? a : b;
  }
};

// Acc is what is computed in.
template <class F, class Acc>
struct PlainOp {
  template <class In, class Out>
  void rows(const In* x, int64_t, int64_t rows, int64_t n, Out* out, bool) const {
    for (int64_t r = 0; r < rows; ++r, x += n) {
      Acc lane[8];
      std::fill_n(lane, 8, F::template identity<Acc>);
      int64_t i = 0;
      for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; ++k) lane[k] = F::apply(lane[k], static_cast<Acc>(x[i + k]));
      for (int k = 0; i < n; ++i, ++k) lane[k] = F::apply(lane[k], static_cast<Acc>(x[i]));
      for (int half = 4; half > 0; half /= 2)
        for (int k = 0; k < half; ++k) lane[k] = F::apply(lane[k], lane[k + half]);
      out[r] = static_cast<Out>(lane[0]);
    }
  }
  template <class In, class Out>
  void cols(const In* x, int64_t, int64_t rows, int64_t width, int64_t stride, Out* out,
            bool) const {
    Acc acc[kSpanColumns];
    for (int64_t c = 0; c < width; c += kSpanColumns) {
      const int64_t w = std::min(kSpanColumns, width - c);
      std::fill_n(acc, w, F::template identity<Acc>);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = 0; j < w; ++j)
          acc[j] = F::apply(acc[j], static_cast<Acc>(x[r * stride + c + j]));
      for (int64_t j = 0; j < w; ++j) out[c + j] = static_cast<Out>(acc[j]);
    }
  }
  PlainOp merge() const { return {}; }
};

}  // namespace annx::reduce
