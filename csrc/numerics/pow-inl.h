// pow. Needs exp_log-inl.h.

// log(x) = hi + lo to about 2^-63 relative, for positive normal x times 2^-added. With s = f/(2+f),
// log(1 + f) = 2 s + 2/3 s^3 + s^5 P(s^2); the first two terms in twice the precision.
template <class V>
ANNX_INLINE SumAndError<V> log_extended(V x, V added) {
  const V two = splat<V>(2);
  const LogParts<V> parts = log_parts(x);
  const V f = parts.f, e = to_float(parts.e) - added;
  const V divisor = two + f;
  const V divisor_error = f - (divisor - two);
  const V s = f / divisor;
  const V s_lo = fnma(s, divisor_error, fnma(s, divisor, f)) / divisor;
  const V square = s * s;
  const V square_lo = fma(two * s, s_lo, fma(s, s, -square));
  const V cube = square * s;
  const V cube_lo = fma(square, s_lo, fma(square_lo, s, fma(square, s, -cube)));
  const V third_hi = splat<V>(0x1.5555555555555p-1), third_lo = splat<V>(0x1.5555555555555p-55);
  const V term = cube * third_hi;
  const V term_lo = fma(cube, third_lo, fma(cube_lo, third_hi, fma(cube, third_hi, -term)));
  const V p = horner(square, 0x1.0e46319f5572ap-3, 0x1.0f7f8b83e2b9fp-3, 0x1.3b1eeff25b275p-3,
                     0x1.745ce9ce764cep-3, 0x1.c71c722da113bp-3, 0x1.2492492457ad7p-2,
                     0x1.9999999999b31p-2);
  const SumAndError<V> head = fast_two_sum(s + s, term);
  const V tail = fma(cube * square, p, head.error + fma(two, s_lo, term_lo));
  // The high part of ln2 is short, so that its product with e is exact.
  const SumAndError<V> sum = fast_two_sum(e * splat<V>(0x1.62e42fefa3800p-1), head.sum);
  const V rest = sum.error + fma(e, splat<V>(0x1.ef35793c76730p-45), tail);
  return fast_two_sum(sum.sum, rest);
}

// x^y in float64 for x >= 0: the product y log(x) with its error, through exp.
template <class V>
ANNX_INLINE V pow_extended(V x, V y) {
  using Format = FloatFormat<V>;
  const auto subnormal = lt(x, splat<V>(Format::min_normal));
  const V scaled = select(subnormal, x * splat<V>(0x1p54), x);
  const V added = select(subnormal, splat<V>(54), zero<V>());
  const SumAndError<V> l = log_extended(scaled, added);
  const V product = y * l.sum;
  const V product_error = fma(y, l.error, fma(y, l.sum, -product));
  // Where the product is beyond the range of exp its error may be NaN and does not matter.
  const V low = splat<V>(-747), high = splat<V>(711);
  const auto inside = lt(abs(product), splat<V>(747));
  const ExpRest<V> rest = exp_reduce(min(high, max(low, product)));
  const V with_error = rest.r + select(inside, product_error, zero<V>());
  const V r = scale_by_power_of_two(exp_of_rest(with_error), rest.shifted);

  const V infinity = splat<V>(Format::infinity);
  const auto at_zero = eq(x, zero<V>());
  const auto grows = (at_zero & lt(y, zero<V>())) | (eq(x, infinity) & gt(y, zero<V>()));
  const V at_end = select(grows, infinity, zero<V>());
  return select(at_zero | eq(x, infinity), at_end, r);
}

// float32 goes through float64, where y log(x) needs no second part.
struct PowThroughF64 {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x, V y) const {
    return exp(y * log(x));
  }
};
template <class V>
ANNX_INLINE V pow_of_magnitude(V x, V y) {
  if constexpr (FloatFormat<V>::is_float) {
    return through_f64(x, y, PowThroughF64{});
  } else {
    return pow_extended(x, y);
  }
}

template <class V>
ANNX_INLINE V pow_3(V x) {
  return x * x * x;
}

// The square root but for -0 and -infinity, where it is 0 and infinity.
template <class V>
ANNX_INLINE V pow_half(V x) {
  const V infinity = splat<V>(FloatFormat<V>::infinity);
  return select(eq(x, -infinity), infinity, sqrt(x) + zero<V>());
}

// With the special cases of C99 (annex F.9.4.4). Max error in ULP (sampled): float32 0.51 (1.2
// for cubes), float64 0.97 (1.2).
template <class V>
ANNX_INLINE V pow(V x, V y) {
  using Format = FloatFormat<V>;
  using I = typename V::Int;
  const V one = splat<V>(1), infinity = splat<V>(Format::infinity);
  const V magnitude = abs(x);
  V r = pow_of_magnitude(magnitude, y);
  r = select(is_nan(x) | is_nan(y), x + y, r);

  // A number as large as 2^24 (2^53) is even, infinity counts as even too.
  const V half = y * splat<V>(0.5f);
  const auto integral = eq(trunc(y), y);
  const auto odd = integral & ne(trunc(half), half);
  const auto negative = lt(as_int(x), splat<I>(0));
  r = select(negative & odd, -r, r);
  const auto no_real_result = lt(x, zero<V>()) & lt(magnitude, infinity) & ~integral;
  r = select(no_real_result, splat<V>(Format::nan), r);
  const auto is_one = eq(x, one) | eq(y, zero<V>()) | (eq(x, -one) & eq(abs(y), infinity));
  r = select(is_one, one, r);
  // As the ops that stand in where the exponent is known to be 2, 3 or 1/2, and their gradients: the
  // bits do not tell.
  r = select(eq(y, one), x, r);
  r = select(eq(y, splat<V>(2)), x * x, r);
  r = select(eq(y, splat<V>(3)), pow_3(x), r);
  return select(eq(y, splat<V>(0.5f)), pow_half(x), r);
}
