// erf and the normal distribution. Needs exp_log-inl.h.

// x + x P(x^2) near zero, else 1 - e^q with q = log(erfc) a polynomial, whose last rounding error
// goes into the exponential: 1 - 2^n e^r = (1 - 2^n) - 2^n (e^r - 1), rounded once. Max error in
// ULP: float32 0.94, float64 1.07.
template <class V>
ANNX_INLINE V erf(V x) {
  const V magnitude = abs(x);
  const V square = magnitude * magnitude;
  V p, t, q_over_t, q_constant;
  typename V::Mask is_near_zero;
  if constexpr (FloatFormat<V>::is_float) {
    p = horner(square, 0x1.4f5f4ap-14f, -0x1.a5fe3ap-11f, 0x1.544804p-8f, -0x1.b800dep-6f,
               0x1.ce2d62p-4f, -0x1.812740p-2f, 0x1.06eba8p-3f);
    // From 3.92 on the result is 1.
    t = min(splat<V>(4), magnitude);
    q_over_t = horner(t, 0x1.aae09cp-13f, -0x1.9889d8p-9f, 0x1.70e8aep-6f, -0x1.ac203p-4f,
                      -0x1.45e5e8p-1f, -0x1.20c8aep+0f);
    q_constant = splat<V>(-0x1.b3ca12p-14f);
    is_near_zero = lt(magnitude, splat<V>(0.969f));
  } else {
    p = horner(square, 0x1.062767a863fadp-34, -0x1.38ac263ee2ecbp-30, 0x1.f7b99e24dcf1bp-27,
               -0x1.5f1f40fc3a56dp-23, 0x1.b9df305aebaa6p-20, -0x1.f4d1e4346e34ap-17,
               0x1.f9a321e4b1c7dp-14, -0x1.c02db3db4924fp-11, 0x1.565bcd0dbd8fcp-8,
               -0x1.b82ce31284f37p-6, 0x1.ce2f21a042b34p-4, -0x1.812746b0379e6p-2,
               0x1.06eba8214db69p-3);
    // From 5.93 on the result is 1.
    t = min(splat<V>(5.95), magnitude) - splat<V>(1);
    q_over_t = horner(t, -0x1.565ff9208ec11p-38, 0x1.066b719aacc07p-33, -0x1.6a9d69746a550p-30,
                      0x1.24b7efad0b982p-27, -0x1.1ed7d76a5d32fp-25, 0x1.f25a3dfb50f65p-25,
                      0x1.b7d04871c5c10p-23, -0x1.1e248c136b109p-19, 0x1.44846a4d5f593p-17,
                      -0x1.c852ac2f72b27p-16, 0x1.b92dda8ea314dp-16, 0x1.f1b04a82dea66p-13,
                      -0x1.033f5a12ccfb4p-9, 0x1.48c9d37fc0384p-7, -0x1.5477f099b6bdfp-5,
                      -0x1.afabc11a2afdap-1, -0x1.51c9b0006c21ap+1);
    q_constant = splat<V>(-0x1.d97fbf27aa2a1p+0);
    is_near_zero = lt(magnitude, splat<V>(1));
  }
  const V near_zero = fma(magnitude, p, magnitude);
  const V q = fma(t, q_over_t, q_constant);
  const V q_error = fma(t, q_over_t, q_constant - q);
  const ExpRest<V> rest = exp_reduce(q);
  const V power = power_of_two(rest.n);
  const V beyond = fnma(power, expm1_of_rest(rest.r + q_error), splat<V>(1) - power);
  return copysign(select(is_near_zero, near_zero, beyond), x);
}

// Phi(x), the share of a normal distribution below x: for negative x the density times Mills' ratio,
// (1 - w) P(w) with w = t / (t + c) and t = |x|, so that small values have all their digits; for
// positive x 1 minus that. The exponential is the one in the density: who needs both pays once. Its
// rounded argument makes an error of up to x^2/2 ULP. Max error in ULP above -1: float32 3.4, float64
// 2.7; everywhere: 71 and 520.
template <class V>
ANNX_INLINE V ndtr(V x) {
  // Here Phi(-t) is 0.
  const V t = min(splat<V>(FloatFormat<V>::is_float ? 16 : 40), abs(x));
  const V w = t / (t + splat<V>(3.75f));
  V p;
  if constexpr (FloatFormat<V>::is_float) {
    p = horner(w, 0x1.edc85ap-6f, -0x1.a6c5e0p-4f, 0x1.444d1ap-4f, 0x1.a88b96p-4f, -0x1.38b76ap-4f,
               -0x1.d17a46p-2f, 0x1.060ae4p+0f, -0x1.fdf840p-1f, 0x1p-1f);
  } else {
    p = horner(
        w, 0x1.b054daee3d046p-10, -0x1.d33c0895a91cdp-7, 0x1.c18e4fb6a1115p-5,
        -0x1.fcda83d2f2935p-4, 0x1.7acc6e7fcbbbbp-3, -0x1.89240a485d664p-3, 0x1.206c80d95a157p-3,
        -0x1.15da761a9a181p-4, 0x1.0325f3bd2603bp-6, 0x1.717353959bba8p-9, -0x1.22f8666f736cfp-7,
        0x1.9929f240be28ap-8, 0x1.c6e84ceba9d05p-8, 0x1.4813c0ae2a48bp-8, -0x1.28fa7ed65ab38p-6,
        -0x1.0cb27c47947b3p-5, 0x1.d44266df47fabp-6, 0x1.fdfabe4b373d0p-4, -0x1.4d63f63c1adb0p-4,
        -0x1.d0c6afa0a5516p-2, 0x1.0607e3ed204e4p+0, -0x1.fdf81c12de5a0p-1, 0x1.0000000000000p-1);
  }
  const V below = exp(splat<V>(-0.5f) * x * x) * fnma(w, p, p);
  return select(gt(x, zero<V>()), splat<V>(1) - below, below);
}
