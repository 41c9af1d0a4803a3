// exp, expm1, log, log1p, rsqrt. Needs poly-inl.h. The maximal errors are those measured: all
// float32 inputs, and a million stratified float64 inputs.

// x = n ln2 + r + lo with |r| <= ln2 / 2 (Cody and Waite): the first subtraction is exact, lo is
// what rounding the second one loses; shifted is n + round_magic. |x| is at most about 1000.
template <class V>
struct ExpRest {
  V r, lo, n, shifted;
};
template <class V>
ANNX_INLINE ExpRest<V> exp_reduce(V x) {
  using Format = FloatFormat<V>;
  const V magic = splat<V>(Format::round_magic);
  const V shifted = fma(x, splat<V>(Format::log2_e), magic);
  const V n = shifted - magic;
  const V first = fnma(n, splat<V>(Format::ln2_hi), x);
  const V r = fnma(n, splat<V>(Format::ln2_lo), first);
  return {r, fnma(n, splat<V>(Format::ln2_lo), first - r), n, shifted};
}

// q(r) with e^r = 1 + r + r^2 q(r).
template <class V>
ANNX_INLINE V exp_quotient(V r) {
  if constexpr (FloatFormat<V>::is_float) {
    return horner(r, 0x1.6db452p-10f, 0x1.123b74p-7f, 0x1.55545ep-5f, 0x1.55548ep-3f, 0x1p-1f);
  } else {
    return horner(r, 0x1.af877bd4a2c4ep-26, 0x1.28b0621510f21p-22, 0x1.71dddea98b29bp-19,
                  0x1.a0199679a2a7dp-16, 0x1.a01a01bb58af3p-13, 0x1.6c16c185b091fp-10,
                  0x1.111111110d4fep-7, 0x1.5555555550008p-5, 0x1.5555555555561p-3,
                  0x1.000000000000cp-1);
  }
}

// e^r - 1, in (-0.30, 0.42).
template <class V>
ANNX_INLINE V expm1_of_rest(V r) {
  return fma(r * r, exp_quotient(r), r);
}

// e^r: what rounding 1 + r loses is added back to the small term.
template <class V>
ANNX_INLINE V exp_of_rest(V r) {
  const V one = splat<V>(1);
  const V sum = one + r;
  const V lost = r - (sum - one);
  return sum + fma(r * r, exp_quotient(r), lost);
}

// v 2^n; two factors, so that a subnormal result is rounded once and overflow gives infinity. `shifted`
// is n + round_magic: n is in its low bits, and half of it in those of its half.
template <class V>
ANNX_INLINE V scale_by_power_of_two(V v, V shifted) {
  constexpr int mantissa = FloatFormat<V>::mantissa_bits;
  const auto n = as_int(shifted), one = as_int(splat<V>(1));
  const auto half = shr_logical<1>(n);
  return v * as_float(shl<mantissa>(half) + one) * as_float(shl<mantissa>(n - half) + one);
}

// e^x with x already within [about -110, 90] (float64: [-750, 710]).
template <class V>
ANNX_INLINE V exp_in_range(V x) {
  const ExpRest<V> rest = exp_reduce(x);
  return scale_by_power_of_two(exp_of_rest(rest.r), rest.shifted);
}

// Max error in ULP: float32 0.83, float64 0.81.
template <class V>
ANNX_INLINE V exp(V x) {
  // Beyond these the result is 0 or infinity anyway; NaN passes through min and max.
  constexpr bool is_float = FloatFormat<V>::is_float;
  const V low = splat<V>(is_float ? -105 : -747);
  const V high = splat<V>(is_float ? 90 : 711);
  return exp_in_range(min(high, max(low, x)));
}

// e^x for x at most about 88 (float64: 709), with 0 in place of subnormal results: nothing in it is
// ever subnormal, which some machines are slow with. Elsewhere the same bits as exp.
template <class V>
ANNX_INLINE V exp_or_zero(V x) {
  using Format = FloatFormat<V>;
  constexpr int shift = Format::mantissa_bits;
  const V low = splat<V>(Format::is_float ? -87 : -708);
  const V bounded = max(low, x);
  const V magic = splat<V>(Format::round_magic);
  const V shifted = fma(bounded, splat<V>(Format::log2_e), magic);
  const V n = shifted - magic;
  const V r = fnma(n, splat<V>(Format::ln2_lo), fnma(n, splat<V>(Format::ln2_hi), bounded));
  const V power = as_float(shl<shift>(as_int(shifted)) + as_int(splat<V>(1)));
  return select(lt(x, low), zero<V>(), exp_of_rest(r) * power);
}

// e^x - 1 = 2 ((2^n/2 - 1/2) + 2^n/2 (e^r - 1)): the first difference is exact where it matters,
// and halves keep 2^n finite. What rounding loses in r and in the first sum is kept. Max error in
// ULP: float32 1.09, float64 1.11.
template <class V>
ANNX_INLINE V expm1(V x) {
  constexpr bool is_float = FloatFormat<V>::is_float;
  const V low = splat<V>(is_float ? -20 : -40);
  const V high = splat<V>(is_float ? 89 : 710);
  const ExpRest<V> rest = exp_reduce(min(high, max(low, x)));
  const V half_power = power_of_two(rest.n - splat<V>(1));
  const V start = half_power - splat<V>(0.5f);
  const V sum = fma(half_power, rest.r, start);
  const V lost = fma(half_power, rest.r, start - sum);
  const V small = fma(rest.r * rest.r, exp_quotient(rest.r), rest.lo);
  const V half_result = sum + fma(half_power, small, lost);
  // Halving would lose the last bit of a subnormal number; this also keeps the sign of zero.
  const V tiny = splat<V>(is_float ? 0x1p-30f : 0x1p-60);
  return select(lt(abs(x), tiny), x, half_result + half_result);
}

// log((1 + f) 2^e) for 1 + f in [sqrt(1/2), sqrt(2)).
template <class V>
ANNX_INLINE V log_of_parts(V f, V e) {
  using Format = FloatFormat<V>;
  const V ln2_hi = splat<V>(Format::ln2_hi);
  const V ln2_lo = splat<V>(Format::ln2_lo);
  if constexpr (Format::is_float) {
    const V p = horner(f, -0x1.38b57ap-4f, 0x1.055b68p-3f, -0x1.0d8542p-3f, 0x1.22da1ep-3f,
                       -0x1.547244p-3f, 0x1.99a008p-3f, -0x1.000226p-2f, 0x1.555554p-2f, -0.5f);
    return fma(e, ln2_hi, f + fma(f * f, p, e * ln2_lo));
  } else {
    // s = f / (2 + f): log(1 + f) = f - (f^2/2 - s (f^2/2 + R(s^2))), as in fdlibm.
    const V s = f / (splat<V>(2) + f);
    const V w = s * s;
    const V r = w * horner(w, 0x1.2f097c3dd5897p-3, 0x1.39a1578277ec7p-3, 0x1.7466428e790c8p-3,
                           0x1.c71c51f89401cp-3, 0x1.2492494204820p-2, 0x1.999999997fc72p-2,
                           0x1.5555555555593p-1);
    const V half_square = splat<V>(0.5) * f * f;
    const V correction = fma(s, half_square + r, e * ln2_lo) - half_square;
    return fma(e, ln2_hi, f + correction);
  }
}

// A positive normal x as (1 + f) 2^e.
template <class V>
struct LogParts {
  V f;
  typename V::Int e;
};
template <class V>
ANNX_INLINE LogParts<V> log_parts(V x) {
  using Format = FloatFormat<V>;
  using I = typename V::Int;
  const I offset = as_int(x) - splat<I>(Format::sqrt_half_bits);
  const I mantissa = (offset & splat<I>(Format::mantissa_mask)) + splat<I>(Format::sqrt_half_bits);
  return {as_float(mantissa) - splat<V>(1), shr_arith<Format::mantissa_bits>(offset)};
}

// Max error in ULP: float32 0.88, float64 0.74.
template <class V>
ANNX_INLINE V log(V x) {
  using Format = FloatFormat<V>;
  constexpr int scale_bits = Format::mantissa_bits + 1;
  const auto subnormal = lt(x, splat<V>(Format::min_normal));
  const V scaled = x * splat<V>(static_cast<typename V::Scalar>(int64_t{1} << scale_bits));
  const LogParts<V> parts = log_parts(select(subnormal, scaled, x));
  const V e = to_float(parts.e) - select(subnormal, splat<V>(scale_bits), zero<V>());
  V r = log_of_parts(parts.f, e);
  r = select(eq(x, splat<V>(Format::infinity)), x, r);
  const V at_zero = select(eq(x, zero<V>()), splat<V>(-Format::infinity), splat<V>(Format::nan));
  return select(gt(x, zero<V>()), r, at_zero);
}

// 1 + x is rounded to u; what the rounding lost enters f. Max error in ULP: float32 1.48,
// float64 1.17.
template <class V>
ANNX_INLINE V log1p(V x) {
  using Format = FloatFormat<V>;
  const V one = splat<V>(1);
  const V u = one + x;
  const V lost = x - (u - one);
  const LogParts<V> parts = log_parts(u);
  // Where u is large nothing was lost, and 2^-e may not be a number.
  const V e = to_float(parts.e);
  const V inverse_power = power_of_two(-e);
  const V correction = select(lt(u, splat<V>(0x1p60f)), lost * inverse_power, zero<V>());
  V r = log_of_parts(parts.f + correction, e);
  r = select(eq(x, splat<V>(Format::infinity)) | eq(x, zero<V>()), x, r);
  const V at_minus_one = select(eq(x, -one), splat<V>(-Format::infinity), splat<V>(Format::nan));
  return select(gt(x, -one), r, at_minus_one);
}

// log(1 + e^-|x|), what softplus has beyond max(x, 0): e^-|x| is in [0, 1], so that log's f is that itself
// or half of what it lacks to 1, both exact but for one rounding, and no case needs care. Max error in
// ULP: float32 1.81, float64 1.79.
template <class V>
ANNX_INLINE V softplus_tail(V x) {
  const V one = splat<V>(1);
  const V u = exp(-abs(x));
  const auto above_sqrt = gt(u, splat<V>(0.41421357f));
  const V f = select(above_sqrt, splat<V>(0.5f) * (u - one), u);
  return log_of_parts(f, select(above_sqrt, one, zero<V>()));
}

// Two correct roundings. Max error in ULP (sampled): float32 1.48, float64 1.50.
template <class V>
ANNX_INLINE V rsqrt(V x) {
  return splat<V>(1) / sqrt(x);
}
