// The activations a GEMM can end with: operation by operation the formulas of the elementwise ops
// (ops/activation/rows.def), so that a fused and an unfused layer agree to the bit.

// The sum or product with another matrix that a GEMM can end with.
struct CombineAdd {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x, V other) const {
    return x + other;
  }
};
struct CombineMultiply {
  template <class V>
  ANNX_INLINE_MEMBER V operator()(V x, V other) const {
    return x * other;
  }
};

// NaN stays NaN: max returns its second operand when unordered.
template <class V>
ANNX_INLINE V activation_relu(V x) {
  return max(zero<V>(), x);
}
template <class V>
ANNX_INLINE V activation_silu(V x) {
  return x * sigmoid(x);
}
template <class V>
ANNX_INLINE V activation_gelu(V x) {
  return x * ndtr(x);
}
// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
template <class V>
ANNX_INLINE V activation_gelu_tanh(V x) {
  using T = typename V::Scalar;
  const V cube = splat<V>(T(0.044715)) * (x * x * x);
  const V t = tanh(splat<V>(T(0.79788456080286535588)) * (x + cube));
  return splat<V>(T(0.5)) * x * (splat<V>(T(1)) + t);
}
