#define ANNX_DEFINE(name)                                           \
  struct Function_##name {                                          \
    template <class V>                                              \
    ANNX_INLINE_MEMBER V operator()(V x) const {                    \
      return name(x);                                               \
    }                                                               \
  };                                                                \
  static void f32_##name(const float* x, float* out, int64_t n) {   \
    map1<F32, 1>(x, out, n, Function_##name{});                     \
  }                                                                 \
  static void f64_##name(const double* x, double* out, int64_t n) { \
    map1<F64, 1>(x, out, n, Function_##name{});                     \
  }
ANNX_NUMERICS_UNARY(ANNX_DEFINE)
#undef ANNX_DEFINE

struct Function_pow {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x, V y) const {
    return pow(x, y);
  }
};
static void f32_pow(const float* x, const float* y, float* out, int64_t n) {
  map2<F32, 1>(x, y, out, n, Function_pow{});
}
static void f64_pow(const double* x, const double* y, double* out, int64_t n) {
  map2<F64, 1>(x, y, out, n, Function_pow{});
}

static void u32_random(uint64_t seed, uint64_t stream, int64_t begin, uint32_t* out, int64_t n) {
  // The words travel as the bits of floats, a block of them at a time.
  float bits[1024];
  for (int64_t i = 0; i < n; i += 1024) {
    const int64_t count = n - i < 1024 ? n - i : 1024;
    philox_fill<F32>(seed, stream, begin + i, bits, count, WordBits<F32>{});
    __builtin_memcpy(out + i, bits, static_cast<size_t>(count) * sizeof(uint32_t));
  }
}
static void f32_uniform(uint64_t seed, uint64_t stream, int64_t begin, float* out, int64_t n) {
  philox_fill<F32>(seed, stream, begin, out, n, UniformOfWords<F32>{});
}
static void f32_normal(uint64_t seed, uint64_t stream, int64_t begin, float* out, int64_t n) {
  philox_fill<F32>(seed, stream, begin, out, n, NormalOfWords<F32>{});
}
static void f64_uniform(uint64_t seed, uint64_t stream, int64_t begin, double* out, int64_t n) {
  philox_fill_wide<F32, F64>(seed, stream, begin, out, n, false);
}
static void f64_normal(uint64_t seed, uint64_t stream, int64_t begin, double* out, int64_t n) {
  philox_fill_wide<F32, F64>(seed, stream, begin, out, n, true);
}
static void philox4x32_block(const int32_t* counters, uint32_t key0, uint32_t key1, int32_t* out) {
  I32 words[4];
  philox4x32(load<I32>(counters), load<I32>(counters + 16), load<I32>(counters + 32),
             load<I32>(counters + 48), key0, key1, words);
  for (int w = 0; w < 4; ++w) store(out + 16 * w, words[w]);
}

extern const NumericsKernels numerics_kernels;
const NumericsKernels numerics_kernels = {
#define ANNX_ENTRIES(name) f32_##name, f64_##name,
    ANNX_NUMERICS_UNARY(ANNX_ENTRIES)
#undef ANNX_ENTRIES
        f32_pow,
    f64_pow,
    u32_random,
    f32_uniform,
    f32_normal,
    f64_uniform,
    f64_normal,
    philox4x32_block};
