// Small products whose C is one vector wide: C [rows, lanes] = A [rows, k] B [k, lanes], each element
// one chain of fma over ascending k. A is read by its strides, so neither K nor V is ever transposed.

#if defined(ANNX_TARGET_AVX512)
static constexpr int kTileRows = 12;
#elif defined(ANNX_TARGET_SCALAR)
static constexpr int kTileRows = 2;
#else
static constexpr int kTileRows = 6;
#endif

enum class Start : uint8_t { zero, sum, scaled };  // chains start from 0, C or C * factor

template <class T>
struct Product {
  int64_t rows, k;
  const T* a;
  int64_t a_rs, a_cs;
  const T* b;
  int64_t b_rs;
  T* c;
  int64_t c_rs;
  Start start;
  const T* factor;  // one vector
};

template <class V, int R>
ANNX_NOINLINE void product_tile(const Product<typename V::Scalar>& t) {
  using T = typename V::Scalar;
  V acc[R];
  if (t.start == Start::zero) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) acc[i] = zero<V>();
  } else {
    const T* c = t.c;
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i, c += t.c_rs) acc[i] = load<V>(c);
    if (t.start == Start::scaled) {
      const V factor = load<V>(t.factor);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) acc[i] = acc[i] * factor;
    }
  }
  const T *a = t.a, *b = t.b;
  const int64_t a_rs = t.a_rs, a_cs = t.a_cs, b_rs = t.b_rs;
  for (int64_t p = t.k; p > 0; --p) {
    const V b_row = load<V>(b);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) acc[i] = fma(splat<V>(a[i * a_rs]), b_row, acc[i]);
    a += a_cs;
    b += b_rs;
  }
  T* c = t.c;
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i, c += t.c_rs) store(c, acc[i]);
}

template <class V, int R>
static constexpr auto product_kernel() {
  if constexpr (R <= kTileRows) {
    return product_tile<V, R>;
  } else {
    return product_tile<V, 1>;
  }
}

// Rows are shared out evenly over the tiles, so that none is left with one or two chains. Between the
// tiles some of what lies ahead is asked for.
template <class V>
ANNX_NOINLINE void product(Product<typename V::Scalar> t, Ahead<typename V::Scalar>* ahead) {
  using Kernel = void (*)(const Product<typename V::Scalar>&);
  static constexpr Kernel kernels[13] = {
      nullptr,
      product_kernel<V, 1>(),
      product_kernel<V, 2>(),
      product_kernel<V, 3>(),
      product_kernel<V, 4>(),
      product_kernel<V, 5>(),
      product_kernel<V, 6>(),
      product_kernel<V, 7>(),
      product_kernel<V, 8>(),
      product_kernel<V, 9>(),
      product_kernel<V, 10>(),
      product_kernel<V, 11>(),
      product_kernel<V, 12>(),
  };
  if (t.rows <= 0) return;
  const int64_t tiles = (t.rows + kTileRows - 1) / kTileRows;
  const int64_t base = t.rows / tiles, extra = t.rows % tiles;
  for (int64_t i = 0; i < tiles; ++i) {
    t.rows = base + (i < extra ? 1 : 0);
    kernels[t.rows](t);
    ask_some(ahead);
    t.a += t.rows * t.a_rs;
    t.c += t.rows * t.c_rs;
  }
}
