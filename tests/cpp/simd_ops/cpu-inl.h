template <class V>
struct SimdOpsImpl {
  using T = typename V::Scalar;
  using I = typename V::Int;
  using IT = typename I::Scalar;
  using M = typename V::Mask;

#define DEFINE(name, expression)                                      \
  struct name##_op {                                                  \
    ANNX_INLINE_MEMBER V operator()(V a) const { return expression; } \
  };                                                                  \
  static void run_##name(const T* a, T* out, int64_t n) { map1<V>(a, out, n, name##_op{}); }
  SIMD_UNARY(DEFINE)
#undef DEFINE
#define DEFINE(name, expression)                                           \
  struct name##_op {                                                       \
    ANNX_INLINE_MEMBER V operator()(V a, V b) const { return expression; } \
  };                                                                       \
  static void run_##name(const T* a, const T* b, T* out, int64_t n) {      \
    map2<V>(a, b, out, n, name##_op{});                                    \
  }
  SIMD_BINARY(DEFINE)
#undef DEFINE
#define DEFINE(name, expression)                                                  \
  struct name##_op {                                                              \
    ANNX_INLINE_MEMBER V operator()(V a, V b, V c) const { return expression; }   \
  };                                                                              \
  static void run_##name(const T* a, const T* b, const T* c, T* out, int64_t n) { \
    map3<V, 1>(a, b, c, out, n, name##_op{});                                     \
  }
  SIMD_TERNARY(DEFINE)
#undef DEFINE
#define DEFINE(name, expression)                                              \
  static M name##_mask(V a, V b) { return expression; }                       \
  static void run_##name(const T* pa, const T* pb, uint8_t* out, int64_t n) { \
    int64_t i = 0;                                                            \
    for (; i + V::lanes <= n; i += V::lanes) {                                \
      store_bool(out + i, name##_mask(load<V>(pa + i), load<V>(pb + i)));     \
    }                                                                         \
    const V a = load_n<V>(pa + i, n - i), b = load_n<V>(pb + i, n - i);       \
    store_bool_n(out + i, name##_mask(a, b), n - i);                          \
  }
  SIMD_COMPARE(DEFINE)
#undef DEFINE
#define DEFINE(name, expression)                                           \
  static I name##_ints(I a, [[maybe_unused]] I b) { return expression; }   \
  static void run_##name(const IT* pa, const IT* pb, IT* out, int64_t n) { \
    int64_t i = 0;                                                         \
    for (; i + I::lanes <= n; i += I::lanes) {                             \
      store(out + i, name##_ints(load<I>(pa + i), load<I>(pb + i)));       \
    }                                                                      \
    const I a = load_n<I>(pa + i, n - i), b = load_n<I>(pb + i, n - i);    \
    store_n(out + i, name##_ints(a, b), n - i);                            \
  }
  SIMD_INT(DEFINE)
#undef DEFINE
#define DEFINE(name, expression)                                                          \
  static M name##_masks(M a, [[maybe_unused]] M b) { return expression; }                 \
  static void run_##name(const uint8_t* pa, const uint8_t* pb, uint8_t* out, int64_t n) { \
    int64_t i = 0;                                                                        \
    for (; i + M::lanes <= n; i += M::lanes) {                                            \
      store_bool(out + i, name##_masks(load_bool<M>(pa + i), load_bool<M>(pb + i)));      \
    }                                                                                     \
    const M a = load_bool_n<M>(pa + i, n - i), b = load_bool_n<M>(pb + i, n - i);         \
    store_bool_n(out + i, name##_masks(a, b), n - i);                                     \
  }
  SIMD_MASK(DEFINE)
#undef DEFINE

  static void select_op(const uint8_t* m, const T* a, const T* b, T* out, int64_t n) {
    int64_t i = 0;
    for (; i + V::lanes <= n; i += V::lanes) {
      store(out + i, select(load_bool<M>(m + i), load<V>(a + i), load<V>(b + i)));
    }
    const V x = load_n<V>(a + i, n - i), y = load_n<V>(b + i, n - i);
    store_n(out + i, select(load_bool_n<M>(m + i, n - i), x, y), n - i);
  }
  static void fill(T value, T* out, int64_t n) {
    int64_t i = 0;
    for (; i + V::lanes <= n; i += V::lanes) store(out + i, splat<V>(value) + iota<V>());
    const V filled = select(first_n<V>(n - i), splat<V>(value) + iota<V>(), splat<V>(-77));
    store_n(out + i, filled, n - i);
    // Lanes from n on must not be selected.
    T all_lanes[V::lanes];
    store(all_lanes, filled);
    for (int64_t j = n - i; j < V::lanes; ++j) {
      if (all_lanes[j] != -77 && n > 0) out[0] = -1;
    }
  }
  static void int_fill(IT value, IT* out, int64_t n) {
    int64_t i = 0;
    for (; i + I::lanes <= n; i += I::lanes) store(out + i, splat<I>(value) + iota<I>());
    store_n(out + i, select(first_n<I>(n - i), splat<I>(value) + iota<I>(), zero<I>()), n - i);
  }
  static int any_all(const uint8_t* p) {
    const M m = load_bool<M>(p);
    return (any(m) ? 1 : 0) + (all(m) ? 2 : 0);
  }
  static void horizontal(const T* p, T* out) {
    const V v = load<V>(p);
    out[0] = hsum(v);
    out[1] = hmax(v);
    out[2] = hmin(v);
  }
  static void to_int_op(const T* p, IT* out, int64_t n) {
    for (int64_t i = 0; i < n; i += V::lanes) {
      const int64_t m = n - i < V::lanes ? n - i : V::lanes;
      store_n(out + i, to_int(load_n<V>(p + i, m)), m);
    }
  }
  static void to_float_op(const IT* p, T* out, int64_t n) {
    for (int64_t i = 0; i < n; i += V::lanes) {
      const int64_t m = n - i < V::lanes ? n - i : V::lanes;
      store_n(out + i, to_float(load_n<I>(p + i, m)), m);
    }
  }
};

static void mul_u32(const int32_t* a, const int32_t* b, int32_t* low, int32_t* high, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t m = n - i < 16 ? n - i : 16;
    const I32 x = load_n<I32>(a + i, m), y = load_n<I32>(b + i, m);
    store_n(low + i, x * y, m);
    store_n(high + i, mulhi_u32(x, y), m);
  }
}
static void widen_op(const float* p, double* out, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) store(out + i, widen(p + i));
  store_n(out + i, widen_n(p + i, n - i), n - i);
}
static void narrow_op(const double* p, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) narrow_store(out + i, load<F64>(p + i));
  narrow_store_n(out + i, load_n<F64>(p + i, n - i), n - i);
}
static void load_bf16_op(const uint16_t* p, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, load_bf16(p + i));
  store_n(out + i, load_bf16_n(p + i, n - i), n - i);
}
static void store_bf16_op(const float* p, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_bf16(out + i, load<F32>(p + i));
  store_bf16_n(out + i, load_n<F32>(p + i, n - i), n - i);
}
static void load_f16_op(const uint16_t* p, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, load_f16(p + i));
  store_n(out + i, load_f16_n(p + i, n - i), n - i);
}
static void store_f16_op(const float* p, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_f16(out + i, load<F32>(p + i));
  store_f16_n(out + i, load_n<F32>(p + i, n - i), n - i);
}
static void copy_u16_op(const uint16_t* p, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store_u16(out + i, load_u16(p + i));
  store_u16_n(out + i, load_u16_n(p + i, n - i), n - i);
}
static void interleave4_op(const float* p, float* out) {
  store_interleaved4(out, load<F32>(p), load<F32>(p + 16), load<F32>(p + 32), load<F32>(p + 48));
}

#define ENTRY(name, expression) Impl::run_##name,
#define ENTRIES                                                                                 \
  {SIMD_UNARY(ENTRY) SIMD_BINARY(ENTRY) SIMD_TERNARY(ENTRY) SIMD_COMPARE(ENTRY) SIMD_INT(ENTRY) \
       SIMD_MASK(ENTRY) Impl::select_op,                                                        \
   Impl::fill,                                                                                  \
   Impl::int_fill,                                                                              \
   Impl::any_all,                                                                               \
   Impl::horizontal,                                                                            \
   Impl::to_int_op,                                                                             \
   Impl::to_float_op}
template <class Impl>
struct SimdOpsTable {
  static constexpr SimdOpsOf<typename Impl::T, typename Impl::IT> table = ENTRIES;
};
extern const SimdOps simd_ops;
const SimdOps simd_ops = {SimdOpsTable<SimdOpsImpl<F32>>::table,
                          SimdOpsTable<SimdOpsImpl<F64>>::table,
                          mul_u32,
                          widen_op,
                          narrow_op,
                          load_bf16_op,
                          store_bf16_op,
                          load_f16_op,
                          store_f16_op,
                          copy_u16_op,
                          interleave4_op};
#undef ENTRY
#undef ENTRIES
