// tanh and sigmoid. Needs exp_log-inl.h.

// float32: x + x^3 P(x^2) near zero, else 1 - 2 / (e^2x + 1), where e^2x + 1 = (2^n + 1) + 2^n (e^r
// - 1) is rounded once. float64: with t = e^2x - 1, t / (t + 2). The division's remainder is added
// back. Max error in ULP: float32 0.84, float64 1.90.
template <class V>
ANNX_INLINE V tanh(V x) {
  const V magnitude = abs(x);
  const V one = splat<V>(1), two = splat<V>(2);
  if constexpr (FloatFormat<V>::is_float) {
    const V square = magnitude * magnitude;
    const V p = horner(square, -0x1.2daec6p-11f, 0x1.77073cp-9f, -0x1.1719bp-7f, 0x1.64c8f8p-6f,
                       -0x1.b9ff4ep-5f, 0x1.111096p-3f, -0x1.555554p-2f);
    const V near_zero = fma(magnitude * square, p, magnitude);
    // From 9.02 on the result is 1.
    const V clamped = min(splat<V>(9.25f), magnitude);
    const ExpRest<V> rest = exp_reduce(clamped + clamped);
    const V power = power_of_two(rest.n);
    const V denominator = fma(power, expm1_of_rest(rest.r), power + one);
    const V quotient = two / denominator;
    const V remainder = fnma(quotient, denominator, two);
    // What the division and the subtraction lose is added back.
    const V difference = one - quotient;
    const V lost = (one - difference) - quotient;
    const V beyond = difference + fnma(remainder * splat<V>(0.5f), quotient, lost);
    return copysign(select(lt(magnitude, splat<V>(0.8f)), near_zero, beyond), x);
  } else {
    const V clamped = min(splat<V>(20), magnitude);
    const V t = expm1(clamped + clamped);
    const SumAndError<V> denominator = two_sum(t, two);
    const V inverse = one / denominator.sum;
    const V quotient = t * inverse;
    const V remainder = fnma(quotient, denominator.error, fnma(quotient, denominator.sum, t));
    return copysign(fma(remainder, inverse, quotient), x);
  }
}

// 1 / (1 + 2^n e^r) with -x = n ln2 + r. For n > 0 both sides of the fraction are divided by 2^n:
// with a = 2^-max(n,0) and b = 2^min(n,0) it is a / ((1 + a b) + b (e^r - 1)), as one of a and b is
// 1; nothing overflows.
// Max error in ULP: float32 1.75, float64 1.60.
template <class V>
ANNX_INLINE V sigmoid(V x) {
  using Format = FloatFormat<V>;
  constexpr bool is_float = Format::is_float;
  const V low = splat<V>(is_float ? -87 : -708), high = splat<V>(is_float ? 105 : 747);
  const ExpRest<V> rest = exp_reduce(min(high, max(low, -x)));
  const V positive = max(zero<V>(), rest.n);
  // 2^-n may be too small to be a normal number: the rest of it comes last.
  const V smallest = splat<V>(is_float ? 126 : 1022);
  const V a = power_of_two(-min(smallest, positive));
  const V b = power_of_two(min(zero<V>(), rest.n));
  const V one = splat<V>(1), product = a * b;
  const V sum = one + product;
  const V lost = product - (sum - one);
  const V denominator = sum + fma(b, expm1_of_rest(rest.r), lost);
  V r = a / denominator;
  const V beyond = positive - smallest;
  if (any(gt(beyond, zero<V>()))) r = r * power_of_two(-max(zero<V>(), beyond));
  return r;
}

// tanh and sigmoid of recurrent gates, in half the instructions. float32 gives up an ULP or two, and
// sigmoid what is below e^-87, which stays e^-87; float64, there to check gradients, is as above.

// (e^2x - 1) / (e^2x + 1), with x = n ln2 / 2 + r and e^2r = 1 + 2 r + r^2 q(r). n is at most 27, so that one
// constant will do for ln2. Max error in ULP: float32 2.5.
template <class V>
ANNX_INLINE V gate_tanh(V x) {
  if constexpr (FloatFormat<V>::is_float) {
    using Format = FloatFormat<V>;
    // From 9.02 on the result is 1.
    const V clamped = min(splat<V>(9.25f), max(splat<V>(-9.25f), x));
    const V magic = splat<V>(Format::round_magic);
    const V shifted = fma(clamped, splat<V>(2 * Format::log2_e), magic);
    const V r = fnma(shifted - magic, splat<V>(Format::ln2_hi / 2), clamped);
    const V power = as_float(shl<Format::mantissa_bits>(as_int(shifted)) + as_int(splat<V>(1)));
    const V q = horner(r, 0x1.6db452p-4f, 0x1.123b74p-2f, 0x1.55545ep-1f, 0x1.55548ep0f, 0x1p1f);
    const V t = fma(power, fma(r * r, q, r + r), power - splat<V>(1));
    return t / (t + splat<V>(2));
  } else {
    return tanh(x);
  }
}

// 1 / (1 + e^-x), with x = r - n ln2: the signs of odd powers of r are those of e^-r. Max error in ULP:
// float32 2.4.
template <class V>
ANNX_INLINE V gate_sigmoid(V x) {
  if constexpr (FloatFormat<V>::is_float) {
    using Format = FloatFormat<V>;
    const V clamped = min(splat<V>(87), max(splat<V>(-87), x));
    const V one = splat<V>(1), magic = splat<V>(Format::round_magic);
    const V shifted = fnma(clamped, splat<V>(Format::log2_e), magic);
    const V n = shifted - magic;
    const V r = fma(n, splat<V>(Format::ln2_lo), fma(n, splat<V>(Format::ln2_hi), clamped));
    const V power = as_float(shl<Format::mantissa_bits>(as_int(shifted)) + as_int(one));
    const V e = horner(r, 0x1.6db452p-10f, -0x1.123b74p-7f, 0x1.55545ep-5f, -0x1.55548ep-3f,
                       0x1p-1f, -1.0f, 1.0f);
    return one / fma(power, e, one);
  } else {
    return sigmoid(x);
  }
}
