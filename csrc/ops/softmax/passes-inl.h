// Passes over one row that softmax and cross-entropy share. Needs ops/reduce/sum-inl.h.

namespace {

// The largest element; NaN may or may not win, which the sum of the exponentials makes good.
template <class V>
ANNX_INLINE typename V::Scalar row_max(const typename V::Scalar* x, int64_t n) {
  constexpr int64_t L = V::lanes;
  const V low = splat<V>(-__builtin_inf());
  V a0 = low, a1 = low;
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    a0 = max(a0, load<V>(x + i));
    a1 = max(a1, load<V>(x + i + L));
  }
  if (i + L <= n) {
    a0 = max(a0, load<V>(x + i));
    i += L;
  }
  if (i < n) a1 = max(a1, select(first_n<V>(n - i), load_n<V>(x + i, n - i), low));
  return hmax(max(a0, a1));
}

// exp(x - top), on the way into the sum.
template <class V>
struct ShiftedExp {
  V top;
  ANNX_INLINE_MEMBER V operator()(const typename V::Scalar* p, int64_t, int64_t n) const {
    return exp_or_zero(load_part<V>(p, n) - top);
  }
};
template <class V>
struct StoredShiftedExp {
  V top;
  typename V::Scalar* y;
  ANNX_INLINE_MEMBER V operator()(const typename V::Scalar* p, int64_t at, int64_t n) const {
    const V e = exp_or_zero(load_part<V>(p, n) - top);
    store_part(y + at, e, n);
    return e;
  }
};

template <class V>
struct ScaleBy {
  V factor;
  ANNX_INLINE_MEMBER V operator()(V x) const { return x * factor; }
};

}  // namespace
