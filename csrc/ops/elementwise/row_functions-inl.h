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
