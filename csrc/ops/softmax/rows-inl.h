// Softmax along rows. Three passes: the maximum; exp(x - max), stored and summed as in sum-inl.h;
// the quotient. exp is that of numerics/. A NaN or a maximum of +-inf makes the whole row NaN.

namespace {

// g * y and g, for the sums of the backward passes.
template <class V>
struct RowProduct {
  const typename V::Scalar* y;
  ANNX_INLINE_MEMBER V operator()(const typename V::Scalar* p, int64_t at, int64_t n) const {
    return load_part<V>(p, n) * load_part<V>(y + at, n);
  }
};

template <class V>
struct LogShift {
  V top, log_sum;
  ANNX_INLINE_MEMBER V operator()(V x) const { return (x - top) - log_sum; }
};
template <class V>
struct SoftmaxGradient {
  V dot;
  ANNX_INLINE_MEMBER V operator()(V g, V y) const { return y * (g - dot); }
};
template <class V>
struct LogSoftmaxGradient {
  V sum;
  ANNX_INLINE_MEMBER V operator()(V g, V y) const { return fnma(exp_or_zero(y), sum, g); }
};

template <class V>
ANNX_INLINE V log_of(double sum) {
  return log(splat<V>(static_cast<typename V::Scalar>(sum)));
}

// Rows of at most one vector stay in registers. All but the last are read and written as whole
// vectors: what spills over is overwritten by the rows that follow. Lanes past the end keep what
// they hold until the sum: exp(-inf) would cost the CPU a subnormal result.
template <class V>
ANNX_INLINE void store_row(typename V::Scalar* y, V v, int64_t n, int64_t left) {
  if (left >= V::lanes) {
    store(y, v);
  } else {
    store_n(y, v, n);
  }
}

template <class V>
ANNX_INLINE void short_rows(const typename V::Scalar* x, int64_t rows, int64_t n,
                            typename V::Scalar* y) {
  using T = typename V::Scalar;
  const auto real = first_n<V>(n);
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const int64_t left = (rows - r) * n;
    const V v = load_part<V>(x, left);
    const V top = splat<V>(hmax(select(real, v, splat<V>(-__builtin_inf()))));
    const V e = select(real, exp_or_zero(v - top), zero<V>());
    store_row(y, e * splat<V>(T{1} / hsum(e)), n, left);
  }
}

// The logarithms of as many rows as a vector has lanes are taken at once.
template <class V>
ANNX_INLINE void short_log_rows(const typename V::Scalar* x, int64_t rows, int64_t n,
                                typename V::Scalar* y) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  const auto real = first_n<V>(n);
  for (int64_t r = 0; r < rows; r += L) {
    const int64_t count = rows - r < L ? rows - r : L;
    T tops[L], sums[L], logs[L];
    for (int64_t k = 0; k < L; ++k) sums[k] = 1;
    for (int64_t k = 0; k < count; ++k) {
      const V v = load_part<V>(x + (r + k) * n, (rows - r - k) * n);
      tops[k] = hmax(select(real, v, splat<V>(-__builtin_inf())));
      sums[k] = hsum(select(real, exp_or_zero(v - splat<V>(tops[k])), zero<V>()));
    }
    store(logs, log(load<V>(sums)));
    for (int64_t k = 0; k < count; ++k) {
      const int64_t at = (r + k) * n, left = (rows - r - k) * n;
      const V v = load_part<V>(x + at, left);
      store_row(y + at, (v - splat<V>(tops[k])) - splat<V>(logs[k]), n, left);
    }
  }
}

template <class V>
void softmax_rows(const typename V::Scalar* x, int64_t rows, int64_t n, typename V::Scalar* y) {
  using T = typename V::Scalar;
  if (n <= V::lanes) return short_rows<V>(x, rows, n, y);
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const V top = splat<V>(row_max<V>(x, n));
    const double sum = sum_run<V>(x, n, StoredShiftedExp<V>{top, y});
    map1<V>(y, y, n, ScaleBy<V>{splat<V>(static_cast<T>(1 / sum))});
  }
}

template <class V>
void log_softmax_rows(const typename V::Scalar* x, int64_t rows, int64_t n, typename V::Scalar* y) {
  if (n <= V::lanes) return short_log_rows<V>(x, rows, n, y);
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const V top = splat<V>(row_max<V>(x, n));
    const double sum = sum_run<V>(x, n, ShiftedExp<V>{top});
    map1<V>(x, y, n, LogShift<V>{top, log_of<V>(sum)});
  }
}

template <class V>
void softmax_rows_backward(const typename V::Scalar* g, const typename V::Scalar* y, int64_t rows,
                           int64_t n, typename V::Scalar* dx) {
  using T = typename V::Scalar;
  for (int64_t r = 0; r < rows; ++r, g += n, y += n, dx += n) {
    const double dot = sum_run<V>(g, n, RowProduct<V>{y});
    map2<V>(g, y, dx, n, SoftmaxGradient<V>{splat<V>(static_cast<T>(dot))});
  }
}

template <class V>
void log_softmax_rows_backward(const typename V::Scalar* g, const typename V::Scalar* y,
                               int64_t rows, int64_t n, typename V::Scalar* dx) {
  using T = typename V::Scalar;
  for (int64_t r = 0; r < rows; ++r, g += n, y += n, dx += n) {
    const double sum = sum_run<V>(g, n, SumIdentity<V>{});
    map2<V>(g, y, dx, n, LogSoftmaxGradient<V>{splat<V>(static_cast<T>(sum))});
  }
}

template <class V>
struct AnyExp {
  V top;
  ANNX_INLINE_MEMBER V operator()(const typename V::Scalar* p, int64_t, int64_t n) const {
    return exp(load_part<V>(p, n) - top);
  }
};

// max + log(sum(exp(x - max))); an infinite maximum is left out of the difference, so that
// rows of -inf give -inf and rows with inf give inf.
template <class V>
void logsumexp_rows(const typename V::Scalar* x, int64_t rows, int64_t n, typename V::Scalar* y) {
  using T = typename V::Scalar;
  for (int64_t r = 0; r < rows; ++r, x += n) {
    const T largest = row_max<V>(x, n);
    const T top = largest - largest == T{0} ? largest : T{0};
    const double sum = sum_run<V>(x, n, AnyExp<V>{splat<V>(top)});
    T lanes[V::lanes];
    store(lanes, log_of<V>(sum));
    y[r] = top + lanes[0];
  }
}

}  // namespace
