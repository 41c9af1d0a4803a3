// Largest and smallest elements; NaN wins over everything. Results are those of any order: there is
// one NaN, and zeros of both signs give 0.

namespace {

template <class V>
struct Largest {
  ANNX_INLINE V worst() { return splat<V>(-__builtin_inf()); }
  // max() gives its second operand when one is NaN: acc keeps a NaN, and x hands its own over.
  ANNX_INLINE V combine(V acc, V x) { return select(is_nan(x), x, max(x, acc)); }
  ANNX_INLINE typename V::Scalar horizontal(V acc) { return hmax(acc); }
};

template <class V>
struct Smallest {
  ANNX_INLINE V worst() { return splat<V>(__builtin_inf()); }
  ANNX_INLINE V combine(V acc, V x) { return select(is_nan(x), x, min(x, acc)); }
  ANNX_INLINE typename V::Scalar horizontal(V acc) { return hmin(acc); }
};

template <class V, class Order>
ANNX_INLINE typename V::Scalar extreme_run(const typename V::Scalar* x, int64_t n) {
  constexpr int64_t L = V::lanes;
  V a0 = Order::worst(), a1 = a0, a2 = a0, a3 = a0;
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    a0 = Order::combine(a0, load<V>(x + i));
    a1 = Order::combine(a1, load<V>(x + i + L));
    a2 = Order::combine(a2, load<V>(x + i + 2 * L));
    a3 = Order::combine(a3, load<V>(x + i + 3 * L));
  }
  for (; i + L <= n; i += L) a0 = Order::combine(a0, load<V>(x + i));
  if (i < n) {
    const V t = load_n<V>(x + i, n - i);
    a1 = Order::combine(a1, select(first_n<V>(n - i), t, Order::worst()));
  }
  const V a = Order::combine(Order::combine(a0, a1), Order::combine(a2, a3));
  if (any(is_nan(a))) return static_cast<typename V::Scalar>(__builtin_nan(""));
  return Order::horizontal(a) + 0;
}

template <class V, class Order>
void extreme_rows(const typename V::Scalar* x, int64_t rows, int64_t n, typename V::Scalar* out) {
  for (int64_t r = 0; r < rows; ++r) out[r] = extreme_run<V, Order>(x + r * n, n);
}

template <class V, class Order>
void extreme_cols(const typename V::Scalar* x, int64_t rows, int64_t width, int64_t stride,
                  typename V::Scalar* out) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  for (int64_t c = 0; c < width; c += kColumnBlock) {
    const int64_t w = width - c < kColumnBlock ? width - c : kColumnBlock;
    for (int64_t r = 0; r < rows; r += 4) {
      const int64_t count = rows - r < 4 ? rows - r : 4;
      const T* p = x + r * stride + c;
      for (int64_t j = 0; j < w; j += L) {
        const int64_t n = w - j < L ? w - j : L;
        V a = r == 0 ? Order::worst() : load_part<V>(out + c + j, n);
        for (int64_t k = 0; k < count; ++k)
          a = Order::combine(a, load_part<V>(p + k * stride + j, n));
        if (r + 4 >= rows)
          a = select(is_nan(a), splat<V>(static_cast<T>(__builtin_nan(""))), a + zero<V>());
        store_part(out + c + j, a, n);
      }
    }
  }
}

template <class V>
int64_t find_first(const typename V::Scalar* x, int64_t n, typename V::Scalar value) {
  constexpr int64_t L = V::lanes;
  const V wanted = splat<V>(value);
  const bool nan = value != value;
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    const V v = load<V>(x + i);
    if (any(nan ? is_nan(v) : eq(v, wanted))) break;
  }
  for (; i < n; ++i) {
    if (nan ? x[i] != x[i] : x[i] == value) break;
  }
  return i;
}

}  // namespace
