// What follows the chains: bias, then activation, in place over a block of C that is still in cache.

struct EpilogueNone {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x) const {
    return x;
  }
};
struct EpilogueRelu {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x) const {
    return activation_relu(x);
  }
};
struct EpilogueSigmoid {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x) const {
    return sigmoid(x);
  }
};
struct EpilogueTanh {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x) const {
    return tanh(x);
  }
};
struct EpilogueGelu {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x) const {
    return activation_gelu(x);
  }
};
struct EpilogueGeluTanh {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x) const {
    return activation_gelu_tanh(x);
  }
};
struct EpilogueSilu {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x) const {
    return activation_silu(x);
  }
};

// One column of vectors at a time, so that its bias stays in a register. Without a bias nothing is
// added: adding 0 would turn -0 into 0.
template <class V, class F>
ANNX_NOINLINE void epilogue_block(int64_t rows, int64_t cols, typename V::Scalar* c, int64_t c_rs,
                                  const typename V::Scalar* bias, F activation) {
  using T = typename V::Scalar;
  for (int64_t j = 0; j < cols; j += V::lanes) {
    const int64_t n = cols - j < V::lanes ? cols - j : V::lanes;
    const V b = bias != nullptr ? load_n<V>(bias + j, n) : zero<V>();
    T* p = c + j;
    if (n < V::lanes) {
      alignas(64) T edge[V::lanes];
      for (int64_t i = 0; i < rows; ++i, p += c_rs) {
        const V x = load_n<V>(p, n);
        store(edge, activation(bias != nullptr ? x + b : x));
        copy_few(edge, n, p);
      }
    } else if (bias != nullptr) {
      for (int64_t i = 0; i < rows; ++i, p += c_rs) store(p, activation(load<V>(p) + b));
    } else {
      for (int64_t i = 0; i < rows; ++i, p += c_rs) store(p, activation(load<V>(p)));
    }
  }
}

template <class V>
static void gemm_epilogue(int64_t rows, int64_t cols, typename V::Scalar* c, int64_t c_rs,
                          const typename V::Scalar* bias, Activation activation) {
  switch (activation) {
    case Activation::none:
      return epilogue_block<V>(rows, cols, c, c_rs, bias, EpilogueNone{});
    case Activation::relu:
      return epilogue_block<V>(rows, cols, c, c_rs, bias, EpilogueRelu{});
    case Activation::sigmoid:
      return epilogue_block<V>(rows, cols, c, c_rs, bias, EpilogueSigmoid{});
    case Activation::tanh:
      return epilogue_block<V>(rows, cols, c, c_rs, bias, EpilogueTanh{});
    case Activation::gelu:
      return epilogue_block<V>(rows, cols, c, c_rs, bias, EpilogueGelu{});
    case Activation::gelu_tanh:
      return epilogue_block<V>(rows, cols, c, c_rs, bias, EpilogueGeluTanh{});
    case Activation::silu:
      return epilogue_block<V>(rows, cols, c, c_rs, bias, EpilogueSilu{});
  }
}
