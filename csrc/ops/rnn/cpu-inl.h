// Gates and states of the recurrent cells, vector by vector down the rows of a tile.

namespace {

template <class V>
ANNX_INLINE V load_part(const typename V::Scalar* p, int64_t n) {
  return n >= V::lanes ? load<V>(p) : load_n<V>(p, n);
}
template <class V>
ANNX_INLINE V load_or_zero(const typename V::Scalar* p, int64_t at, int64_t n) {
  return p != nullptr ? load_part<V>(p + at, n) : zero<V>();
}
template <class V>
ANNX_INLINE void store_part(typename V::Scalar* p, V v, int64_t n) {
  if (n >= V::lanes) {
    store(p, v);
  } else {
    store_n(p, v, n);
  }
}

// The derivatives of sigmoid and tanh from their values.
template <class V>
ANNX_INLINE V sigmoid_slope(V y) {
  return fnma(y, y, y);
}
template <class V>
ANNX_INLINE V tanh_slope(V y) {
  return fnma(y, y, splat<V>(1));
}

template <class V>
ANNX_INLINE void add_part(typename V::Scalar* p, V v, int64_t n) {
  store_part(p, load_part<V>(p, n) + v, n);
}

struct SigmoidGate {
  template <class V>
  ANNX_INLINE V value(V x) {
    return gate_sigmoid(x);
  }
};
struct TanhGate {
  template <class V>
  ANNX_INLINE V value(V x) {
    return gate_tanh(x);
  }
};
// One gate of n units down the rows. A loop of its own: the constants of one function fit in the
// registers, those of two do not.
template <class V, class F>
ANNX_NOINLINE void gate_values(int64_t rows, int64_t n, const typename V::Scalar* from,
                               int64_t from_rs, const typename V::Scalar* bias,
                               typename V::Scalar* to, int64_t to_rs) {
  const V b = load_part<V>(bias, n);
  for (int64_t r = 0; r < rows; ++r)
    store_part(to + r * to_rs, F::value(load_part<V>(from + r * from_rs, n) + b), n);
}

// c' = f c + i g, h = o tanh(c')
template <class V>
void lstm_forward(const RnnTile<typename V::Scalar>& t) {
  using T = typename V::Scalar;
  for (int64_t u = 0; u < t.units; u += V::lanes) {
    const int64_t n = t.units - u < V::lanes ? t.units - u : V::lanes;
    const int64_t first = u * t.step_rows + t.row * n;
    // The gates go where they are kept, else where the sums were.
    const bool keep = t.kept != nullptr;
    T* to = keep ? t.kept + first * kRnnKept : t.sums + u;
    const int64_t gate = keep ? n : t.sum, rs = keep ? n * kRnnKept : t.sums_rs;
    for (int g = 0; g < 4; ++g)
      (g == 2 ? gate_values<V, TanhGate>
              : gate_values<V, SigmoidGate>)(t.rows, n, t.sums + g * t.sum + u, t.sums_rs,
                                             t.bias + g * t.gate + u, to + g * gate, rs);
    const T* before =
        t.previous != nullptr ? t.previous + u * t.previous_rows + t.row * n : nullptr;
    for (int64_t r = 0; r < t.rows; ++r) {
      const T* at = to + r * rs;
      const V product = load_part<V>(at, n) * load_part<V>(at + 2 * gate, n);
      const V c = fma(load_part<V>(at + gate, n), load_or_zero<V>(before, r * n, n), product);
      const V squashed = gate_tanh(c);
      store_part(t.state + first + r * n, c, n);
      store_part(t.output + r * t.state_rs + u, load_part<V>(at + 3 * gate, n) * squashed, n);
      if (keep) store_part(to + r * rs + 4 * gate, squashed, n);
    }
  }
}

template <class V>
void lstm_backward(const RnnTile<typename V::Scalar>& t) {
  using T = typename V::Scalar;
  for (int64_t u = 0; u < t.units; u += V::lanes) {
    const int64_t n = t.units - u < V::lanes ? t.units - u : V::lanes;
    V sum_i = zero<V>(), sum_f = zero<V>(), sum_g = zero<V>(), sum_o = zero<V>();
    for (int64_t r = 0; r < t.rows; ++r) {
      const int64_t s = r * t.state_rs + u, row = (t.row + r) * n;
      const T* at = t.kept + (u * t.step_rows + row) * kRnnKept;
      T* to = t.dgates + r * t.dgates_rs + u;
      const V squashed = load_part<V>(at + 4 * n, n);
      const V o = load_part<V>(at + 3 * n, n);
      if (t.again != nullptr) store_part(t.again + s, o * squashed, n);
      const V dh = load_part<V>(t.dh + s, n) + load_or_zero<V>(t.dy, s, n);
      const V d_o = dh * squashed * sigmoid_slope(o);
      store_part(to + 3 * t.gate, d_o, n);
      sum_o = sum_o + d_o;
      const V dc = fma(dh * o, tanh_slope(squashed), load_part<V>(t.dstate + s, n));
      const V i = load_part<V>(at, n), g = load_part<V>(at + 2 * n, n);
      const V d_i = dc * g * sigmoid_slope(i);
      store_part(to, d_i, n);
      sum_i = sum_i + d_i;
      const V d_g = dc * i * tanh_slope(g);
      store_part(to + 2 * t.gate, d_g, n);
      sum_g = sum_g + d_g;
      const V f = load_part<V>(at + n, n);
      const V before = load_or_zero<V>(t.previous, u * t.previous_rows + row, n);
      const V d_f = dc * before * sigmoid_slope(f);
      store_part(to + t.gate, d_f, n);
      sum_f = sum_f + d_f;
      store_part(t.dstate + s, dc * f, n);
    }
    add_part(t.bias_grad + u, sum_i, n);
    add_part(t.bias_grad + t.gate + u, sum_f, n);
    add_part(t.bias_grad + 2 * t.gate + u, sum_g, n);
    add_part(t.bias_grad + 3 * t.gate + u, sum_o, n);
  }
}

// n = tanh(x_n + r h_n), h' = n + z (h - n); the bias of h_n is that of the fourth gate.
template <class V>
void gru_forward(const RnnTile<typename V::Scalar>& t) {
  for (int64_t u = 0; u < t.units; u += V::lanes) {
    const int64_t n = t.units - u;
    const typename V::Scalar* bias = t.bias + u;
    for (int64_t row = 0; row < t.rows; ++row) {
      const typename V::Scalar* at = t.sums + row * t.sums_rs + u;
      typename V::Scalar* to = t.gates + row * t.gates_rs + u;
      const int64_t s = row * t.state_rs + u;
      const V r = gate_sigmoid(load_part<V>(at, n) + load_part<V>(bias, n));
      store_part(to, r, n);
      const V h_n = load_part<V>(at + 3 * t.sum, n) + load_part<V>(bias + 3 * t.gate, n);
      store_part(to + 3 * t.gate, h_n, n);
      const V x_n = load_part<V>(at + 2 * t.sum, n) + load_part<V>(bias + 2 * t.gate, n);
      const V next = gate_tanh(fma(r, h_n, x_n));
      store_part(to + 2 * t.gate, next, n);
      const V z = gate_sigmoid(load_part<V>(at + t.sum, n) + load_part<V>(bias + t.gate, n));
      store_part(to + t.gate, z, n);
      store_part(t.output + s, fma(z, load_or_zero<V>(t.previous, s, n) - next, next), n);
    }
  }
}

template <class V>
void gru_backward(const RnnTile<typename V::Scalar>& t) {
  for (int64_t u = 0; u < t.units; u += V::lanes) {
    const int64_t n = t.units - u;
    V sum_r = zero<V>(), sum_z = zero<V>(), sum_h = zero<V>(), sum_n = zero<V>();
    for (int64_t row = 0; row < t.rows; ++row) {
      const typename V::Scalar* at = t.gates + row * t.gates_rs + u;
      typename V::Scalar* to = t.dgates + row * t.dgates_rs + u;
      const int64_t s = row * t.state_rs + u;
      const V r = load_part<V>(at, n), z = load_part<V>(at + t.gate, n);
      const V next = load_part<V>(at + 2 * t.gate, n), h_n = load_part<V>(at + 3 * t.gate, n);
      const V dh = load_part<V>(t.dh + s, n) + load_or_zero<V>(t.dy, s, n);
      const V bypass = dh * z;
      store_part(t.dh + s, bypass, n);
      const V d_n = (dh - bypass) * tanh_slope(next);
      const V d_h = d_n * r;
      const V d_r = d_n * h_n * sigmoid_slope(r);
      const V d_z = dh * (load_or_zero<V>(t.previous, s, n) - next) * sigmoid_slope(z);
      store_part(to, d_r, n);
      store_part(to + t.gate, d_z, n);
      store_part(to + 2 * t.gate, d_h, n);
      store_part(to + 3 * t.gate, d_n, n);
      sum_r = sum_r + d_r;
      sum_z = sum_z + d_z;
      sum_h = sum_h + d_h;
      sum_n = sum_n + d_n;
    }
    add_part(t.bias_grad + u, sum_r, n);
    add_part(t.bias_grad + t.gate + u, sum_z, n);
    add_part(t.bias_grad + 2 * t.gate + u, sum_h, n);
    add_part(t.bias_grad + 3 * t.gate + u, sum_n, n);
  }
}

struct TanhCell {
  template <class V>
  ANNX_INLINE V value(V x) {
    return tanh(x);
  }
  template <class V>
  ANNX_INLINE V gradient(V g, V y) {
    return g * tanh_slope(y);
  }
};
// NaN stays NaN: max returns its second operand when unordered.
struct ReluCell {
  template <class V>
  ANNX_INLINE V value(V x) {
    return max(zero<V>(), x);
  }
  template <class V>
  ANNX_INLINE V gradient(V g, V y) {
    return select(gt(y, zero<V>()), g, zero<V>());
  }
};

template <class V, class F>
void rnn_forward(const RnnTile<typename V::Scalar>& t) {
  for (int64_t u = 0; u < t.units; u += V::lanes) {
    const int64_t n = t.units - u;
    const V bias = load_part<V>(t.bias + u, n);
    for (int64_t r = 0; r < t.rows; ++r) {
      const V sum = load_part<V>(t.sums + r * t.sums_rs + u, n);
      store_part(t.gates + r * t.gates_rs + u, F::value(sum + bias), n);
    }
  }
}

template <class V, class F>
void rnn_backward(const RnnTile<typename V::Scalar>& t) {
  for (int64_t u = 0; u < t.units; u += V::lanes) {
    const int64_t n = t.units - u;
    V sum = zero<V>();
    for (int64_t r = 0; r < t.rows; ++r) {
      const int64_t s = r * t.state_rs + u;
      const V dh = load_part<V>(t.dh + s, n) + load_or_zero<V>(t.dy, s, n);
      const V d = F::gradient(dh, load_part<V>(t.gates + r * t.gates_rs + u, n));
      store_part(t.dgates + r * t.dgates_rs + u, d, n);
      sum = sum + d;
    }
    add_part(t.bias_grad + u, sum, n);
  }
}

template <class V>
struct RnnEntries {
  static constexpr RnnTable<typename V::Scalar> table = {
      {lstm_forward<V>, gru_forward<V>, rnn_forward<V, TanhCell>, rnn_forward<V, ReluCell>},
      {lstm_backward<V>, gru_backward<V>, rnn_backward<V, TanhCell>, rnn_backward<V, ReluCell>},
  };
};

}  // namespace

extern const RnnKernels rnn_kernels;
const RnnKernels rnn_kernels = {RnnEntries<F32>::table, RnnEntries<F64>::table};
