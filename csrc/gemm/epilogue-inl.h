// What follows the chains: alpha, bias, activation, then a sum or product, in place over a block of C still
// in cache.

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

// Row by row: columns of rows a power of two apart fall on few sets of L1. Without a bias nothing is
// added: adding 0 would turn -0 into 0. Multiplying by an alpha of 1 changes nothing.
template <class V, class F>
ANNX_NOINLINE void epilogue_block(const GemmEpilogue<typename V::Scalar>& e, F activation) {
  using T = typename V::Scalar;
  const V alpha = splat<V>(e.alpha);
  const bool add = e.bias != nullptr;
  const int64_t left = e.cols % V::lanes, whole = e.cols - left;
  T* p = e.c;
  for (int64_t i = 0; i < e.rows; ++i, p += e.c_rs) {
    if (add) {
      for (int64_t j = 0; j < whole; j += V::lanes)
        store(p + j, activation(alpha * load<V>(p + j) + load<V>(e.bias + j)));
    } else {
      for (int64_t j = 0; j < whole; j += V::lanes)
        store(p + j, activation(alpha * load<V>(p + j)));
    }
    if (left == 0) continue;
    alignas(64) T edge[V::lanes];
    const V x = alpha * load_n<V>(p + whole, left);
    store(edge, activation(add ? x + load_n<V>(e.bias + whole, left) : x));
    copy_few(edge, left, p + whole);
  }
}

template <class V, class F>
ANNX_NOINLINE void combine_block(const GemmEpilogue<typename V::Scalar>& e, F combine) {
  using T = typename V::Scalar;
  const int64_t left = e.cols % V::lanes, whole = e.cols - left;
  T* p = e.c;
  const T* other = e.other.data;
  for (int64_t i = 0; i < e.rows; ++i, p += e.c_rs, other += e.other.rs) {
    for (int64_t j = 0; j < whole; j += V::lanes)
      store(p + j, combine(load<V>(p + j), load<V>(other + j)));
    if (left == 0) continue;
    alignas(64) T edge[V::lanes];
    store(edge, combine(load_n<V>(p + whole, left), load_n<V>(other + whole, left)));
    copy_few(edge, left, p + whole);
  }
}

template <class V>
static void gemm_combine(const GemmEpilogue<typename V::Scalar>& e) {
  if (e.other.how == GemmCombine::add) combine_block<V>(e, CombineAdd{});
  if (e.other.how == GemmCombine::multiply) combine_block<V>(e, CombineMultiply{});
}

template <class V>
static void gemm_activation(const GemmEpilogue<typename V::Scalar>& e) {
  switch (e.activation) {
    case Activation::none:
      if (e.bias == nullptr && e.alpha == 1) return;
      return epilogue_block<V>(e, EpilogueNone{});
    case Activation::relu:
      return epilogue_block<V>(e, EpilogueRelu{});
    case Activation::sigmoid:
      return epilogue_block<V>(e, EpilogueSigmoid{});
    case Activation::tanh:
      return epilogue_block<V>(e, EpilogueTanh{});
    case Activation::gelu:
      return epilogue_block<V>(e, EpilogueGelu{});
    case Activation::gelu_tanh:
      return epilogue_block<V>(e, EpilogueGeluTanh{});
    case Activation::silu:
      return epilogue_block<V>(e, EpilogueSilu{});
  }
}

template <class V>
static void gemm_epilogue(const GemmEpilogue<typename V::Scalar>& e) {
  gemm_activation<V>(e);
  gemm_combine<V>(e);
}
