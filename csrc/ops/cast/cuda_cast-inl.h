// Conversions between dtypes, one element at a time. After ops/elementwise/cuda_thread-inl.h.

// The half types as they are stored.
struct HalfBits {
  uint16_t bits;
};
struct BrainBits {
  uint16_t bits;
};

ANNX_INLINE float number_of(HalfBits h) { return f16_to_f32(I32{h.bits}).v; }
ANNX_INLINE float number_of(BrainBits b) { return as_float(shl<16>(I32{b.bits})).v; }
ANNX_INLINE int32_t number_of(Bool8 b) { return b.v != 0; }
template <class T>
ANNX_INLINE T number_of(T v) {
  return v;
}

template <class From, class To>
struct CastRow {
  using In0 = From;
  using Out = To;
  static constexpr int inputs = 1, width = pack_width(sizeof(From), sizeof(To));
  static constexpr bool strided_out = false;
  ANNX_INLINE Out apply(In0 a, const double*) {
    const auto v = number_of(a);
    if constexpr (__is_same(To, HalfBits)) {
      return {static_cast<uint16_t>(f32_to_f16(F32{static_cast<float>(v)}).v)};
    } else if constexpr (__is_same(To, BrainBits)) {
      return {static_cast<uint16_t>(bf16_bits(F32{static_cast<float>(v)}).v)};
    } else {
      return convert<To>(v);
    }
  }
};
