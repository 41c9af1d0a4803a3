// float32 to and from the half types: rounded to nearest even, NaN stays NaN. Large copies.

namespace {

constexpr int64_t L = F32::lanes;

#define ANNX_NARROWING(name, put)                                         \
  void name(const void* const* in, void* out, int64_t n, const double*) { \
    const float* x = static_cast<const float*>(in[0]);                    \
    uint16_t* y = static_cast<uint16_t*>(out);                            \
    int64_t i = 0;                                                        \
    for (; i + L <= n; i += L) put(y + i, load<F32>(x + i));              \
    if (i < n) put##_n(y + i, load_n<F32>(x + i, n - i), n - i);          \
  }
#define ANNX_WIDENING(name, get)                                          \
  void name(const void* const* in, void* out, int64_t n, const double*) { \
    const uint16_t* x = static_cast<const uint16_t*>(in[0]);              \
    float* y = static_cast<float*>(out);                                  \
    int64_t i = 0;                                                        \
    for (; i + L <= n; i += L) store(y + i, get(x + i));                  \
    if (i < n) store_n(y + i, get##_n(x + i, n - i), n - i);              \
  }
ANNX_NARROWING(f32_to_f16_run, store_f16)
ANNX_NARROWING(f32_to_bf16_run, store_bf16)
ANNX_WIDENING(f16_to_f32_run, load_f16)
ANNX_WIDENING(bf16_to_f32_run, load_bf16)
#undef ANNX_NARROWING
#undef ANNX_WIDENING

void copy_stream_run(const void* const* in, void* const* out, int64_t n, int64_t, const double*) {
  struct Same {
    ANNX_INLINE_MEMBER F32 operator()(F32 x) const { return x; }
  };
  map1_stream<F32>(in, out, n, Same{});
}

}  // namespace

extern const CastKernels cast_kernels;
const CastKernels cast_kernels = {f32_to_f16_run, f16_to_f32_run, f32_to_bf16_run, bf16_to_f32_run,
                                  copy_stream_run};
