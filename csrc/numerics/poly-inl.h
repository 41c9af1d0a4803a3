// What the elementary functions share: floating-point formats, polynomials, powers of two.
// V is a SIMD vector or any type with the same functions and `lanes`.
// Unless said otherwise, coefficients are our own Remez minimax fits, weighted so that the largest
// error in ULP is the least, then rounded to the format; where that showed, one by one,
// with the others fitted again.

template <class V, bool is_float = sizeof(typename V::Scalar) == 4>
struct FloatFormat;

template <class V>
struct FloatFormat<V, true> {
  static constexpr bool is_float = true;
  static constexpr int mantissa_bits = 23;
  static constexpr int bits = 32;
  static constexpr int32_t bias = 127;
  static constexpr int32_t mantissa_mask = 0x007fffff;
  static constexpr int32_t sqrt_half_bits = 0x3f3504f3;
  static constexpr float infinity = __builtin_inff();
  static constexpr float nan = __builtin_nanf("");
  static constexpr float min_normal = 0x1p-126f;
  static constexpr float round_magic = 0x1.8p23f;  // x + magic has ulp 1 for |x| < 2^22
  static constexpr float ln2_hi = 0x1.62e43p-1f;
  static constexpr float ln2_lo = -0x1.05c61p-29f;
  static constexpr float log2_e = 0x1.715476p+0f;
};

template <class V>
struct FloatFormat<V, false> {
  static constexpr bool is_float = false;
  static constexpr int mantissa_bits = 52;
  static constexpr int bits = 64;
  static constexpr int64_t bias = 1023;
  static constexpr int64_t mantissa_mask = 0x000fffffffffffff;
  static constexpr int64_t sqrt_half_bits = 0x3fe6a09e667f3bcd;
  static constexpr double infinity = __builtin_inf();
  static constexpr double nan = __builtin_nan("");
  static constexpr double min_normal = 0x1p-1022;
  static constexpr double round_magic = 0x1.8p52;
  static constexpr double ln2_hi = 0x1.62e42fefa39efp-1;
  static constexpr double ln2_lo = 0x1.abc9e3b39803fp-56;
  static constexpr double log2_e = 0x1.71547652b82fep+0;
};

// Highest coefficient first: horner(x, a, b, c) = (a x + b) x + c, each step one fma.
template <class V, class... Rest>
ANNX_INLINE V horner(V x, typename V::Scalar highest, Rest... rest) {
  V r = splat<V>(highest);
  ((r = fma(r, x, splat<V>(static_cast<typename V::Scalar>(rest)))), ...);
  return r;
}

// 2^v for integral v in the range of normal numbers: the sum with the magic number has v in its low
// bits.
template <class V>
ANNX_INLINE V power_of_two(V v) {
  using Format = FloatFormat<V>;
  constexpr int shift = Format::mantissa_bits;
  return as_float(shl<shift>(as_int(v + splat<V>(Format::round_magic))) + as_int(splat<V>(1)));
}

// a + b = sum + error exactly.
template <class V>
struct SumAndError {
  V sum, error;
};
template <class V>
ANNX_INLINE SumAndError<V> two_sum(V a, V b) {
  const V sum = a + b;
  const V b_rounded = sum - a;
  const V error = (a - (sum - b_rounded)) + (b - b_rounded);
  return {sum, error};
}
// The same for |a| >= |b| or a = 0.
template <class V>
ANNX_INLINE SumAndError<V> fast_two_sum(V a, V b) {
  const V sum = a + b;
  return {sum, b - (sum - a)};
}
