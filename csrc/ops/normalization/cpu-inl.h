// Layer, root mean square, batch and group normalisation of float32 and float64, forward and backward.
#include "ops/reduce/sum-inl.h"

#include "ops/normalization/batch-inl.h"
#include "ops/normalization/layer-inl.h"

namespace {

template <class V>
struct NormalizationEntries {
  static constexpr NormalizationTable<typename V::Scalar> table = {
      layer_norm<V>,  layer_norm_backward<V>, rms_norm<V>, rms_norm_backward<V>, affine_columns<V>,
      affine_runs<V>, dot_columns<V>,         dot_runs<V>, gradient_columns<V>,  gradient_runs<V>,
  };
};

}  // namespace

extern const NormalizationKernels normalization_kernels;
const NormalizationKernels normalization_kernels = {NormalizationEntries<F32>::table,
                                                    NormalizationEntries<F64>::table};
