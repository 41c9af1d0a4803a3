// Gradients of the activations, operation by operation the formulas of ops/activation/rows.def, so
// that a fused and an unfused layer agree to the bit. relu, sigmoid and tanh read the output y, the
// others the input x.

struct GradientNone {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V g, V) const {
    return g;
  }
};
struct GradientRelu {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V g, V y) const {
    return select(gt(y, zero<V>()), g, zero<V>());
  }
};
struct GradientSigmoid {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V g, V y) const {
    return g * (y * (splat<V>(1) - y));
  }
};
struct GradientTanh {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V g, V y) const {
    return g * (splat<V>(1) - y * y);
  }
};
struct GradientGelu {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V g, V x) const {
    using T = typename V::Scalar;
    const V phi = splat<V>(T(0.3989422804014327)) * exp(splat<V>(T(-0.5)) * x * x);
    return g * (ndtr(x) + x * phi);
  }
};
struct GradientGeluTanh {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V g, V x) const {
    using T = typename V::Scalar;
    const V half = splat<V>(T(0.5)), one = splat<V>(1), scale = splat<V>(T(0.7978845608028654));
    const V t = tanh(scale * (x + splat<V>(T(0.044715)) * (x * x * x)));
    const V inner = scale * (one + splat<V>(T(0.134145)) * (x * x));
    return g * (half * (one + t) + half * x * (one - t * t) * inner);
  }
};
struct GradientSilu {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V g, V x) const {
    const V s = sigmoid(x), one = splat<V>(1);
    return g * (s * (one + x * (one - s)));
  }
};

// A few rows at a time, so that memory is read in its order; sums wait in L1, and those of a column
// are added in the order of its rows.
template <class V, class F>
ANNX_NOINLINE void gradient_block(const GemmGradientBlock<typename V::Scalar>& block, F gradient) {
  using T = typename V::Scalar;
  constexpr int64_t kRows = 4;
  alignas(64) T edge[V::lanes];
  const bool summed = block.sums != nullptr;
  // Rows fetched ahead: some kilobytes of them.
  const int64_t ahead = block.cols < 384 ? 1536 / (block.cols + 1) : kRows;
  for (int64_t row = 0; row < block.rows; row += kRows) {
    const int64_t rows = block.rows - row < kRows ? block.rows - row : kRows;
    for (int64_t j = 0; j < block.cols; j += V::lanes) {
      const int64_t n = block.cols - j < V::lanes ? block.cols - j : V::lanes;
      const bool whole = n == V::lanes;
      const T* grad = block.grad + row * block.grad_rs + j;
      const T* saved = block.saved + row * block.saved_rs + j;
      int64_t at = row * block.out_rs + j;
      V sum = zero<V>();
      if (summed && row > 0) sum = whole ? load<V>(block.sums + j) : load_n<V>(block.sums + j, n);
      for (int64_t i = 0; i < rows; ++i) {
        __builtin_prefetch(grad + ahead * block.grad_rs);
        const V g = whole ? load<V>(grad) : load_n<V>(grad, n);
        const V x = gradient(g, whole ? load<V>(saved) : load_n<V>(saved, n));
        sum = sum + x;
        if (block.out == nullptr) {
        } else if (whole) {
          store(block.out + at, x);
        } else {
          store(edge, x);
          copy_few(edge, n, block.out + at);
        }
        grad += block.grad_rs;
        saved += block.saved_rs;
        at += block.out_rs;
      }
      if (!summed) continue;
      if (whole) {
        store(block.sums + j, sum);
      } else {
        store(edge, sum);
        copy_few(edge, n, block.sums + j);
      }
    }
  }
  if (!summed || block.rows > 0) return;
  for (int64_t j = 0; j < block.cols; ++j) block.sums[j] = 0;
}

template <class V>
static void gemm_gradient(const GemmGradientBlock<typename V::Scalar>& block) {
  switch (block.activation) {
    case Activation::none:
      return gradient_block<V>(block, GradientNone{});
    case Activation::relu:
      return gradient_block<V>(block, GradientRelu{});
    case Activation::sigmoid:
      return gradient_block<V>(block, GradientSigmoid{});
    case Activation::tanh:
      return gradient_block<V>(block, GradientTanh{});
    case Activation::gelu:
      return gradient_block<V>(block, GradientGelu{});
    case Activation::gelu_tanh:
      return gradient_block<V>(block, GradientGeluTanh{});
    case Activation::silu:
      return gradient_block<V>(block, GradientSilu{});
  }
}
