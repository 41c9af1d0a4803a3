// Attention of float32 and float64.
#include "gemm/transpose-inl.h"

#include "ops/attention/ahead-inl.h"
// product-inl.h uses ahead-inl.h.
#include "ops/attention/product-inl.h"
// Then what the passes are made of.
#include "ops/attention/column-inl.h"
#include "ops/attention/forward-inl.h"
// backward-inl.h uses helpers of forward-inl.h.
#include "ops/attention/backward-inl.h"

namespace {

// Rows row … row + count - 1 of all weights, at most one vector of them; out may be in.
template <class V>
void drop_rows(const AttentionDropout<typename V::Scalar>& dropout, int64_t row, int64_t count,
               int64_t keys, const typename V::Scalar* in, typename V::Scalar* out) {
  constexpr int64_t L = V::lanes;
  typename V::Scalar keep[kAttentionBackwardKeys * L];
  for (int64_t key = 0; key < keys; key += kAttentionBackwardKeys) {
    const int64_t rest = keys - key;
    const ColumnPlace at = {row, key, rest < kAttentionBackwardKeys ? rest : kAttentionBackwardKeys,
                            count};
    dropout_tile<V>(dropout, keys, at, keep);
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t r = 0; r < at.rows; ++r) {
        const int64_t i = j * keys + key + r;
        out[i] = in[i] * keep[r * L + j];
      }
    }
  }
}

template <class V>
struct AttentionEntries {
  static constexpr AttentionTable<typename V::Scalar> table = {
      attention_forward_scratch<typename V::Scalar>,
      attention_backward_scratch<typename V::Scalar>,
      attention_forward<V>,
      attention_backward<V>,
      drop_rows<V>,
  };
};

}  // namespace

extern const AttentionKernels attention_kernels;
const AttentionKernels attention_kernels = {AttentionEntries<F32>::table,
                                            AttentionEntries<F64>::table};
