// float32 to and from the half types: rounded to nearest even, NaN stays NaN. Floats to integers and
// back, to the values of convert.h. Large copies.

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

// As core/truncate.h.
ANNX_INLINE int64_t cut(double v) {
  if (v > -0x1p63 && v < 0x1p63) return static_cast<int64_t>(v);
  if (v != v) return 0;
  return v > 0 ? INT64_MAX : INT64_MIN;
}
template <class From, class To>
ANNX_NOINLINE void cut_each(const From* x, To* o, int64_t n) {
  for (int64_t i = 0; i < n; ++i) o[i] = static_cast<To>(cut(static_cast<double>(x[i])));
}

// Lanes as integers, where all of them are in the range that the vectors convert.
ANNX_INLINE bool cut_lanes(F32 v, int32_t* o) {
  const I32 cut = to_int(v), outside = splat<I32>(INT32_MIN);
  store(o, cut);
  return !any(eq(cut, outside));
}
ANNX_INLINE bool cut_lanes(F64 v, int64_t* o) {
  store(o, to_int(trunc(v)));
  return all(lt(abs(v), splat<F64>(0x1p51)));
}
ANNX_INLINE bool cut_lanes(F32 v, int64_t* o) {
  store(o, to_int(trunc(widen_lo(v))));
  store(o + 8, to_int(trunc(widen_hi(v))));
  return all(lt(abs(v), splat<F32>(0x1p51f)));
}
ANNX_INLINE bool cut_lanes(F32 v, uint8_t* o) {
  int32_t wide[16];
  const bool fits = cut_lanes(v, wide);
  for (int k = 0; k < 16; ++k) o[k] = static_cast<uint8_t>(wide[k]);
  return fits;
}
template <class To>
ANNX_INLINE bool cut_lanes(F64 v, To* o) {
  int64_t wide[8];
  const bool fits = cut_lanes(v, wide);
  for (int k = 0; k < 8; ++k) o[k] = static_cast<To>(wide[k]);
  return fits;
}

template <class V, class To>
void cut_run(const void* const* in, void* out, int64_t n, const double*) {
  using From = typename V::Scalar;
  const From* x = static_cast<const From*>(in[0]);
  To* o = static_cast<To*>(out);
  int64_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes)
    if (!cut_lanes(load<V>(x + i), o + i)) cut_each(x + i, o + i, V::lanes);
  cut_each(x + i, o + i, n - i);
}

template <class V>
void truth_run(const void* const* in, void* out, int64_t n, const double*) {
  const typename V::Scalar* x = static_cast<const typename V::Scalar*>(in[0]);
  uint8_t* o = static_cast<uint8_t*>(out);
  int64_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) store_bool(o + i, ne(load<V>(x + i), zero<V>()));
  if (i < n) store_bool_n(o + i, ne(load_n<V>(x + i, n - i), zero<V>()), n - i);
}

// The halves of the bits beside exponents that make them 2^32 times and one times themselves: both are
// exact, their sum is rounded once.
ANNX_INLINE F64 nearest(I64 v) {
  const I64 low = (v & splat<I64>(0xffffffff)) | splat<I64>(0x4330000000000000);
  const I64 high = shr_logical<32>(v ^ splat<I64>(INT64_MIN)) | splat<I64>(0x4530000000000000);
  return (as_float(high) - splat<F64>(0x1.000008p84)) + (as_float(low) - splat<F64>(0x1p52));
}
void i64_to_f64_run(const void* const* in, void* out, int64_t n, const double*) {
  const int64_t* x = static_cast<const int64_t*>(in[0]);
  double* o = static_cast<double*>(out);
  int64_t i = 0;
  for (; i + I64::lanes <= n; i += I64::lanes) store(o + i, nearest(load<I64>(x + i)));
  if (i < n) store_n(o + i, nearest(load_n<I64>(x + i, n - i)), n - i);
}
void i64_to_f32_run(const void* const* in, void* out, int64_t n, const double*) {
  const int64_t* x = static_cast<const int64_t*>(in[0]);
  float* o = static_cast<float*>(out);
  const I64 half = splat<I64>(int64_t{1} << 53);
  int64_t i = 0;
  for (; i + I64::lanes <= n; i += I64::lanes) {
    const I64 v = load<I64>(x + i);
    // What a double holds exactly is rounded once on the way.
    if (all(eq(shr_logical<54>(v + half), zero<I64>()))) {
      narrow_store(o + i, nearest(v));
    } else {
      for (int64_t k = i; k < i + I64::lanes; ++k) o[k] = static_cast<float>(x[k]);
    }
  }
  for (; i < n; ++i) o[i] = static_cast<float>(x[i]);
}
void i64_to_i32_run(const void* const* in, void* out, int64_t n, const double*) {
  const int64_t* x = static_cast<const int64_t*>(in[0]);
  int32_t* o = static_cast<int32_t*>(out);
  for (int64_t i = 0; i < n; ++i) o[i] = static_cast<int32_t>(x[i]);
}
void i32_to_f32_run(const void* const* in, void* out, int64_t n, const double*) {
  const int32_t* x = static_cast<const int32_t*>(in[0]);
  float* o = static_cast<float*>(out);
  int64_t i = 0;
  for (; i + L <= n; i += L) store(o + i, to_float(load<I32>(x + i)));
  for (; i < n; ++i) o[i] = static_cast<float>(x[i]);
}

void copy_stream_run(const void* const* in, void* const* out, int64_t n, int64_t, const double*) {
  struct Same {
    ANNX_INLINE_MEMBER F32 operator()(F32 x) const { return x; }
  };
  map1_stream<F32>(in, out, n, Same{});
}

}  // namespace

extern const CastKernels cast_kernels;
const CastKernels cast_kernels = {
    f32_to_f16_run,
    f16_to_f32_run,
    f32_to_bf16_run,
    bf16_to_f32_run,
    {cut_run<F32, int64_t>, cut_run<F32, int32_t>, cut_run<F32, uint8_t>, truth_run<F32>},
    {cut_run<F64, int64_t>, cut_run<F64, int32_t>, cut_run<F64, uint8_t>, truth_run<F64>},
    i64_to_f64_run,
    i64_to_f32_run,
    i64_to_i32_run,
    i32_to_f32_run,
    copy_stream_run,
};
