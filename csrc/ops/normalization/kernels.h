// Normalisation kernels. "Columns": rows of `width` channels. "Runs": `length` contiguous elements
// of one channel; run number r belongs to channel r % channels.
#pragma once

#include <cstdint>

#include "dispatch/kernels.h"

namespace annx {

template <class T>
struct NormalizationTable {
  // y = (x - mean) * rstd * weight + bias, row by row; mean and rstd are written.
  void (*layer_norm)(const T* x, const T* weight, const T* bias, int64_t rows, int64_t n,
                     double eps, T* y, T* mean, T* rstd);
  // dx (plus other, where not null), and (where not null) the sums over these rows of g * (x - mean) * rstd
  // and of g.
  void (*layer_norm_backward)(const T* g, const T* x, const T* weight, const T* mean, const T* rstd,
                              const T* other, int64_t rows, int64_t n, T* dx, T* dweight, T* dbias);
  // The same without mean and bias; rstd is 1 / sqrt(mean of squares + eps).
  void (*rms_norm)(const T* x, const T* weight, int64_t rows, int64_t n, double eps, T* y, T* rstd);
  void (*rms_norm_backward)(const T* g, const T* x, const T* weight, const T* rstd, const T* other,
                            int64_t rows, int64_t n, T* dx, T* dweight);
  // y = (x - mean) * scale + shift.
  void (*affine_columns)(const T* x, int64_t rows, int64_t width, const T* mean, const T* scale,
                         const T* shift, T* y);
  void (*affine_runs)(const T* x, int64_t first, int64_t runs, int64_t length, int64_t channels,
                      const T* mean, const T* scale, const T* shift, T* y);
  // Sums of g * (x - mean).
  void (*dot_columns)(const T* g, const T* x, int64_t rows, int64_t width, int64_t stride,
                      const T* mean, double divisor, T* out);
  void (*dot_runs)(const T* g, const T* x, int64_t first, int64_t runs, int64_t length,
                   int64_t channels, const T* mean, double divisor, T* out);
  // dx = g * scale - offset - (x - mean) * slope.
  void (*gradient_columns)(const T* g, const T* x, int64_t rows, int64_t width, const T* mean,
                           const T* scale, const T* offset, const T* slope, T* dx);
  void (*gradient_runs)(const T* g, const T* x, int64_t first, int64_t runs, int64_t length,
                        int64_t channels, const T* mean, const T* scale, const T* offset,
                        const T* slope, T* dx);
};

struct NormalizationKernels {
  NormalizationTable<float> f32;
  NormalizationTable<double> f64;
};
ANNX_DECLARE_KERNELS(NormalizationKernels, normalization_kernels)

}  // namespace annx
