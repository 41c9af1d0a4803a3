// sin, cos and sincos. Needs poly-inl.h.

// x = n pi/2 + hi + lo with |hi| <= pi/4 (a little more) and |lo| <= ulp(hi) / 2; only n mod 4 is
// kept.
template <class V>
struct QuarterTurns {
  V hi, lo;
  typename V::Int n;
};

// Payne and Hanek: only those bits of 2/pi that matter for x are multiplied, in integers. x is
// finite and not small (at least 2^16).
ANNX_NOINLINE int64_t reduce_large_angle(double x, double* hi, double* lo) {
  // 64 zero bits, then the bits of 2/pi after the point.
  const uint64_t two_over_pi[20] = {
      0x0000000000000000, 0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041,
      0xfe5163abdebbc561, 0xb7246e3a424dd2e0, 0x06492eea09d1921c, 0xfe1deb1cb129a73e,
      0xe88235f52ebb4484, 0xe99c7026b45f7e41, 0x3991d639835339f4, 0x9c845f8bbdf9283b,
      0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d,
      0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab};
  const uint64_t bits = __builtin_bit_cast(uint64_t, x);
  const uint64_t mantissa = (bits & 0x000fffffffffffff) | 0x0010000000000000;
  const int exponent =
      static_cast<int>(bits >> 52 & 0x7ff) - 1023 - 52;  // |x| = mantissa 2^exponent

  // 192 bits of 2/pi from where mantissa * bit is still a multiple of 4 turns; the product modulo
  // 2^192 has two integer bits and 190 of fraction.
  const int start = exponent - 2 + 64;
  const int word = start / 64, shift = start % 64;
  uint64_t w[3];
  for (int i = 0; i < 3; ++i) {
    const uint64_t* t = two_over_pi + word + i;
    w[i] = shift == 0 ? t[0] : t[0] << shift | t[1] >> (64 - shift);
  }
  using Wide = unsigned __int128;
  const Wide low = Wide{mantissa} * w[2];
  const Wide middle = Wide{mantissa} * w[1] + static_cast<uint64_t>(low >> 64);
  const uint64_t r0 = mantissa * w[0] + static_cast<uint64_t>(middle >> 64);
  const uint64_t r1 = static_cast<uint64_t>(middle), r2 = static_cast<uint64_t>(low);

  // The fraction as a signed 128-bit number in [-1/2, 1/2) of a quarter turn.
  Wide fraction = (Wide{r0} << 64 | r1) << 2 | r2 >> 62;
  int64_t n = static_cast<int64_t>(r0 >> 62);
  bool negative = (fraction >> 127) != 0;
  if (negative) {
    fraction = -fraction;
    ++n;
  }
  int leading_zeros = 0;
  while (fraction >> 127 == 0) {
    fraction <<= 1;
    ++leading_zeros;
  }
  const double scale =
      __builtin_bit_cast(double, static_cast<uint64_t>(1023 - 53 - leading_zeros) << 52);
  const uint64_t top = static_cast<uint64_t>(fraction >> 75);  // 53 bits
  const uint64_t rest = static_cast<uint64_t>(fraction >> 22) & 0x001fffffffffffff;
  double f_hi = static_cast<double>(static_cast<int64_t>(top)) * scale;
  double f_lo = static_cast<double>(static_cast<int64_t>(rest)) * (scale * 0x1p-53);
  if (bits >> 63 != 0) {
    negative = !negative;
    n = -n;
  }
  if (negative) {
    f_hi = -f_hi;
    f_lo = -f_lo;
  }
  const double pio2_hi = 0x1.921fb54442d18p+0, pio2_lo = 0x1.1a62633145c07p-54;
  const double product = f_hi * pio2_hi;
  double error = __builtin_fma(f_hi, pio2_hi, -product);
  error = __builtin_fma(f_hi, pio2_lo, __builtin_fma(f_lo, pio2_hi, error));
  *hi = product + error;
  *lo = error - (*hi - product);
  return n & 3;
}

// Replaces the lanes whose angle is too large for the short reduction.
template <class V>
ANNX_INLINE QuarterTurns<V> with_large_angles(V x, QuarterTurns<V> turns,
                                              typename V::Scalar limit) {
  using Scalar = typename V::Scalar;
  using Integer = typename V::Int::Scalar;
  Scalar angle[V::lanes], hi[V::lanes], lo[V::lanes];
  Integer n[V::lanes];
  store(angle, x);
  store(hi, turns.hi);
  store(lo, turns.lo);
  store(n, turns.n);
  for (int i = 0; i < V::lanes; ++i) {
    const Scalar magnitude = angle[i] < 0 ? -angle[i] : angle[i];
    if (!(magnitude >= limit && magnitude < FloatFormat<V>::infinity)) continue;
    double wide_hi, wide_lo;
    n[i] =
        static_cast<Integer>(reduce_large_angle(static_cast<double>(angle[i]), &wide_hi, &wide_lo));
    hi[i] = static_cast<Scalar>(wide_hi);
    lo[i] = static_cast<Scalar>((wide_hi - static_cast<double>(hi[i])) + wide_lo);
  }
  return {load<V>(hi), load<V>(lo), load<typename V::Int>(n)};
}

// pi/2 in three parts, whose products with n are subtracted with their errors (Cody and Waite). The
// first subtraction is exact. Good to |n| < 2^17 (float64: 2^30).
template <class V>
ANNX_INLINE QuarterTurns<V> reduce_moderate_angle(V x) {
  using Format = FloatFormat<V>;
  V two_over_pi, part1, part2, part3;
  if constexpr (Format::is_float) {
    two_over_pi = splat<V>(0x1.45f306p-1f);
    part1 = splat<V>(0x1.921fb6p+0f);
    part2 = splat<V>(-0x1.777a5cp-25f);
    part3 = splat<V>(-0x1.ee59dap-50f);
  } else {
    two_over_pi = splat<V>(0x1.45f306dc9c883p-1);
    part1 = splat<V>(0x1.921fb54442d18p+0);
    part2 = splat<V>(0x1.1a62633145c07p-54);
    part3 = splat<V>(-0x1.f1976b7ed8fbcp-110);
  }
  const V magic = splat<V>(Format::round_magic);
  const V shifted = fma(x, two_over_pi, magic);
  const V n = shifted - magic;
  const V first = fnma(n, part1, x);
  const V product = n * part2;
  const V product_error = fma(n, part2, -product);
  const SumAndError<V> r = two_sum(first, -product);
  const V lo = fnma(n, part3, r.error - product_error);
  return {r.sum, lo, as_int(shifted) - as_int(magic)};
}

template <class V>
ANNX_INLINE QuarterTurns<V> reduce_angle(V x) {
  constexpr typename V::Scalar limit = FloatFormat<V>::is_float ? 0x1p17f : 0x1p30;
  QuarterTurns<V> turns = reduce_moderate_angle(x);
  if (any(ge(abs(x), splat<V>(limit)))) turns = with_large_angles(x, turns, limit);
  return turns;
}

// sin(hi + lo) = hi + (hi^3 S(hi^2) + lo)
template <class V>
ANNX_INLINE V sin_of_rest(V hi, V lo) {
  const V square = hi * hi;
  V s;
  if constexpr (FloatFormat<V>::is_float) {
    s = horner(square, 0x1.6cd7f8p-19f, -0x1.a00f9cp-13f, 0x1.111108p-7f, -0x1.555556p-3f);
  } else {
    s = horner(square, 0x1.5d92d2144b57bp-33, -0x1.ae5e659deba8fp-26, 0x1.71de3576f5834p-19,
               -0x1.a01a019c10c34p-13, 0x1.111111110f874p-7, -0x1.5555555555549p-3);
  }
  return hi + fma(hi * square, s, lo);
}

// cos(hi + lo) = 1 + hi^2 (-1/2 + hi^2 C(hi^2)) - hi lo
template <class V>
ANNX_INLINE V cos_of_rest(V hi, V lo) {
  const V square = hi * hi;
  V c;
  if constexpr (FloatFormat<V>::is_float) {
    c = horner(square, 0x1.9a01bcp-16f, -0x1.6c0c8ap-10f, 0x1.55554ap-5f);
  } else {
    c = horner(square, -0x1.8fae699e51762p-37, 0x1.1ee9eb8a67d3ap-29, -0x1.27e4f8096a83bp-22,
               0x1.a01a019cb10bdp-16, -0x1.6c16c16c15177p-10, 0x1.555555555554cp-5);
  }
  const V half_square = splat<V>(0.5f) * square;
  const V w = splat<V>(1) - half_square;
  const V w_error = (splat<V>(1) - w) - half_square;
  return w + fma(square * square, c, fnma(hi, lo, w_error));
}

// Sine or cosine of n quarter turns and the rest: bit 0 of n swaps them, bit 1 changes the sign.
template <class V>
ANNX_INLINE V of_quarter_turns(V sine, V cosine, typename V::Int n) {
  using I = typename V::Int;
  constexpr int to_sign = FloatFormat<V>::bits - 2;
  const auto even = eq(n & splat<I>(1), splat<I>(0));
  const I sign = shl<to_sign>(n & splat<I>(2));
  return as_float(as_int(select(even, sine, cosine)) ^ sign);
}

template <class V>
ANNX_INLINE void sincos_of_turns(QuarterTurns<V> turns, V* sine, V* cosine) {
  const V s = sin_of_rest(turns.hi, turns.lo), c = cos_of_rest(turns.hi, turns.lo);
  *sine = of_quarter_turns(s, c, turns.n);
  *cosine = of_quarter_turns(s, c, turns.n + splat<typename V::Int>(1));
}

// Any finite x. Max error in ULP (sampled): float32 0.81, float64 0.80.
template <class V>
ANNX_INLINE V sin(V x) {
  const QuarterTurns<V> turns = reduce_angle(x);
  const V s = sin_of_rest(turns.hi, turns.lo), c = cos_of_rest(turns.hi, turns.lo);
  // Adding the corrections would lose the sign of zero.
  return select(eq(x, zero<V>()), x, of_quarter_turns(s, c, turns.n));
}

// Any finite x. Max error in ULP (sampled): float32 0.79, float64 0.82.
template <class V>
ANNX_INLINE V cos(V x) {
  const QuarterTurns<V> turns = reduce_angle(x);
  const V s = sin_of_rest(turns.hi, turns.lo), c = cos_of_rest(turns.hi, turns.lo);
  return of_quarter_turns(s, c, turns.n + splat<typename V::Int>(1));
}
