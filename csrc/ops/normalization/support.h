// What the normalisations share.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/layout.h"
#include "core/readonly.h"
#include "gemm/kernels.h"
#include "ops/activation/gradient.h"
#include "ops/normalization/kernels.h"
#include "ops/reduce/float_ops.h"

namespace annx::normalization {

template <class T>
const NormalizationTable<T>& kernels() {
  if constexpr (std::is_same_v<T, float>)
    return normalization_kernels().f32;
  else
    return normalization_kernels().f64;
}

// Input i in row-major memory, or an undefined tensor.
inline Tensor prepared(const OpCall& c, int i) {
  return c.has(i) ? reduce::prepare(c.in(i), c.in(i).dtype()) : Tensor();
}

// Whether the channels of x (N, C, ...) lie side by side in memory.
inline bool has_channels_last(const Tensor& x) {
  return !x.is_contiguous() && x.dim() > 2 && is_channels_last(x);
}

// x (N, C, ...) in memory is either N * C runs of L elements of one channel or, with `rows`, N * L
// rows of C channels.
struct Layout {
  int64_t batch, channels, length = 1;
  bool rows;
  explicit Layout(const Tensor& x) : batch(x.size(0)), channels(x.size(1)) {
    for (int i = 2; i < x.dim(); ++i) length *= x.size(i);
    rows = length == 1 || has_channels_last(x);
  }
  int64_t count() const { return batch * length; }  // values per channel
  int64_t runs() const { return batch * channels; }
};

// Input i, (N, C, ...), in row-major memory, or with its channels last where those of `like` are.
inline Tensor prepared_like(const OpCall& c, int i, const Tensor& like) {
  if (!has_channels_last(like)) return prepared(c, i);
  GradModeGuard no_grad(false);
  return ops::channels_last(c.in(i));
}

// The output that keeps the layout of x.
inline OutputSpec spec_like(const Tensor& x) {
  OutputSpec spec{x.shape(), x.dtype()};
  if (has_channels_last(x)) spec.strides = channels_last_strides(x.shape());
  return spec;
}

// The activation of what follows, which a captured step may have appended as attribute i.
inline Activation joined_activation(const OpCall& c, int i, const char* op) {
  return i < c.attrs.size() ? ops::activation_named(c.attr(i).text(), op) : Activation::none;
}

// Of n values that were just written.
template <class T>
void activate(Activation activation, T* y, int64_t n) {
  if (activation != Activation::none)
    gemm_kernels_of<T>().epilogue({1, n, y, n, T(1), nullptr, activation});
}

// Product of the trailing dimensions.
inline int64_t row_length(const Dims& shape, const Attr& trailing) {
  int64_t n = 1;
  for (int i = shape.size() - static_cast<int>(trailing.i()); i < shape.size(); ++i) n *= shape[i];
  return n;
}

template <class T>
T rstd_of(T variance, double eps) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(variance) + eps));
}

// running = (1 - momentum) * running + momentum * fresh
template <class T>
void blend(const Tensor& running, const T* fresh, int64_t n, double momentum, double factor) {
  if (!running.defined()) return;
  check_writable(running, "running statistics");
  T* r = running.data<T>();
  for (int64_t i = 0; i < n; ++i)
    r[i] = static_cast<T>((1 - momentum) * static_cast<double>(r[i]) +
                          momentum * (static_cast<double>(fresh[i]) * factor));
  running.storage()->bump_version();
}

// Tensors in the dtype that is computed in: halves become float32.
inline Tensor as_float(const Tensor& t) {
  return t.defined() && is_half(t.dtype()) ? ops::cast(t, DType::f32) : t;
}
// Running statistics may have another floating dtype; store_running writes them back.
Tensor open_running(const Tensor& t, DType dtype, bool written, const char* op);
void store_running(const Tensor& opened, const Tensor& t);

template <class T>
T* data_or_null(const Tensor& t) {
  return t.defined() && t.numel() > 0 ? t.data<T>() : nullptr;
}

// Sum over a channel of g * (x - mean).
template <class T>
struct ChannelDotOp {
  const T *g, *x, *mean;
  int64_t channels;
  void rows(const T* p, int64_t at, int64_t rows, int64_t n, T* out, bool) const {
    kernels<T>().dot_runs(g + (p - x), p, at, rows, n, channels, mean, 1, out);
  }
  void cols(const T* p, int64_t at, int64_t rows, int64_t width, int64_t stride, T* out,
            bool) const {
    kernels<T>().dot_columns(g + (p - x), p, rows, width, stride, mean + at, 1, out);
  }
  reduce::SumOp<T> merge() const { return {1}; }
};

// An optional parameter has to have this shape and the dtype of the input.
inline void check_parameter(const OpCall& c, int i, const char* op, const char* what,
                            const Dims& shape) {
  if (!c.has(i)) return;
  const Tensor& t = c.in(i);
  ANNX_CHECK(t.shape() == shape, value, op, "expected ", what, " of shape ", shape, " but got ",
             t.shape(), " for input of shape ", c.in(0).shape());
  ANNX_CHECK(t.dtype() == c.in(0).dtype(), type, op, "expected ", what, " of dtype ",
             c.in(0).dtype(), " but got ", t.dtype());
}

inline void check_floating(const OpCall& c, const char* op) {
  ANNX_CHECK(is_floating(c.in(0).dtype()), type, op,
             "expected a floating-point input but got dtype ", c.in(0).dtype());
}

// normalized_shape, which the input's shape has to end in.
inline Dims check_trailing(const OpCall& c, const Ints& wanted, const char* op) {
  const Tensor& x = c.in(0);
  ANNX_CHECK(!wanted.empty(), value, op,
             "expected at least one dimension in normalized_shape but got ()");
  const Dims shape(wanted);
  bool fits = shape.size() <= x.dim();
  for (int i = 0; i < shape.size() && fits; ++i)
    fits = shape[i] == x.size(x.dim() - shape.size() + i);
  ANNX_CHECK(fits, value, op, "expected an input whose shape ends in ", shape, " but got ",
             x.shape());
  return shape;
}

// Gradients of layer normalisation, or without a mean of root mean square normalisation, of rows of
// n. dw and db may be null; they are summed over blocks of rows (a function of the shape), then over
// blocks. `other`, where it is defined, is added to dx.
template <class T>
void layer_rows_backward(const Tensor& g, const Tensor& x, const Tensor& weight, const Tensor& mean,
                         const Tensor& rstd, const Tensor& other, int64_t n, T* dx, T* dw, T* db) {
  const int64_t rows = rstd.numel();
  if (x.numel() == 0) {
    if (dw) std::fill_n(dw, n, T{0});
    if (db) std::fill_n(db, n, T{0});
    return;
  }
  const int64_t block = std::clamp<int64_t>(reduce::kPiece / n, 16, 256);
  const int64_t blocks = (rows + block - 1) / block;
  const int64_t buffered = blocks > 1 ? blocks * n : 0;
  const Tensor weights = reduce::scratch<T>(dw ? buffered : 0);
  const Tensor biases = reduce::scratch<T>(db ? buffered : 0);
  const T *gp = g.data<T>(), *xp = x.data<T>(), *wp = data_or_null<T>(weight);
  const T *mp = data_or_null<T>(mean), *rp = rstd.data<T>(), *op = data_or_null<T>(other);
  const NormalizationTable<T>& kernel = kernels<T>();
  const int64_t grain = std::max<int64_t>(1, reduce::kGrain / (block * n));
  parallel_for(blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t r = k * block, at = r * n, count = std::min(block, rows - r);
      T* to_weight = !dw ? nullptr : blocks > 1 ? weights.data<T>() + k * n : dw;
      T* to_bias = !db ? nullptr : blocks > 1 ? biases.data<T>() + k * n : db;
      if (mp) {
        kernel.layer_norm_backward(gp + at, xp + at, wp, mp + r, rp + r, op ? op + at : nullptr,
                                   count, n, dx + at, to_weight, to_bias);
      } else {
        kernel.rms_norm_backward(gp + at, xp + at, wp, rp + r, op ? op + at : nullptr, count, n,
                                 dx + at, to_weight);
      }
    }
  });
  if (blocks == 1) return;
  const ReduceTable<T>& k = reduce::kernels<T>();
  if (dw) k.sum_cols(weights.data<T>(), blocks, n, n, 1, dw);
  if (db) k.sum_cols(biases.data<T>(), blocks, n, n, 1, db);
}

}  // namespace annx::normalization
