// What formulas of rows use beyond simd/ and numerics/; the Tensor side has the same in functional.h.

template <class V>
ANNX_INLINE V square(V x) {
  return x * x;
}

template <class V>
ANNX_INLINE V sign(V x) {
  const V one = splat<V>(static_cast<typename V::Scalar>(1));
  return select(gt(x, zero<V>()), one, select(lt(x, zero<V>()), -one, x));
}

// floor(a / b), which the rounding of a quotient just below an integer would make one too large. An
// infinite b goes 0 times into a number of its sign and -1 times into others.
template <class V>
ANNX_INLINE V floor_quotient(V a, V b) {
  const V one = splat<V>(static_cast<typename V::Scalar>(1));
  const V to_b = select(lt(b, zero<V>()), -one, one);
  const V q = floor(a / b);
  const V limited = select(lt(a * to_b, zero<V>()), -one, q);
  const V exact = select(lt(fnma(q, b, a) * to_b, zero<V>()), q - one, q);
  const V infinity = splat<V>(__builtin_inff());
  return select(eq(abs(b), infinity), select(lt(abs(a), infinity), limited, q), exact);
}

// a - floor_quotient(a, b) * b, rounded once while the quotient itself is exact.
template <class V>
ANNX_INLINE V floor_rest(V a, V b) {
  const V one = splat<V>(static_cast<typename V::Scalar>(1));
  const V to_b = select(lt(b, zero<V>()), -one, one);
  const V rest = fnma(floor(a / b), b, a);
  const V exact = select(lt(rest * to_b, zero<V>()), rest + b, rest);
  const V infinity = splat<V>(__builtin_inff());
  // a - a is 0 but for what is infinite or NaN itself.
  const V limited = (a - a) + select(lt(a * to_b, zero<V>()), b, a);
  return select(eq(abs(b), infinity), limited, exact);
}
