// Softmax, log-softmax and logsumexp of float32 and float64.
#include "ops/reduce/sum-inl.h"

#include "ops/softmax/passes-inl.h"

#include "ops/softmax/cols-inl.h"
#include "ops/softmax/rows-inl.h"

namespace {

template <class V>
struct SoftmaxEntries {
  static constexpr SoftmaxTable<typename V::Scalar> table = {
      softmax_rows<V>,
      log_softmax_rows<V>,
      softmax_cols<V, false>,
      softmax_cols<V, true>,
      softmax_rows_backward<V>,
      log_softmax_rows_backward<V>,
      softmax_cols_backward<V, false>,
      softmax_cols_backward<V, true>,
      logsumexp_rows<V>,
  };
};

}  // namespace

extern const SoftmaxKernels softmax_kernels;
const SoftmaxKernels softmax_kernels = {SoftmaxEntries<F32>::table, SoftmaxEntries<F64>::table};
