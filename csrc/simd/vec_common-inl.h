// What is the same for every target, on top of vec_<target>.h.

template <class V>
ANNX_INLINE V load(const typename V::Scalar* p) {
  return V::load(p);
}
// Lanes n and above are 0; memory beyond p[n-1] is not touched. n is in [0, lanes].
template <class V>
ANNX_INLINE V load_n(const typename V::Scalar* p, int64_t n) {
  return V::load_n(p, n);
}
template <class V>
ANNX_INLINE V splat(typename V::Scalar s) {
  return V::splat(s);
}
template <class V>
ANNX_INLINE V zero() {
  return V::splat(0);
}
// 0, 1, 2, …
template <class V>
ANNX_INLINE V iota() {
  return V::iota();
}
// True in lanes 0 … n-1; V is F32, F64, I32 or I64.
template <class V>
ANNX_INLINE typename V::Mask first_n(int64_t n) {
  return V::first_n(n);
}
// Byte != 0; M is M32 or M64.
template <class M>
ANNX_INLINE M load_bool(const uint8_t* p) {
  return M::load_bool(p);
}
template <class M>
ANNX_INLINE M load_bool_n(const uint8_t* p, int64_t n) {
  return M::load_bool_n(p, n);
}

#if !defined(ANNX_TARGET_AVX2) && !defined(ANNX_TARGET_AVX512)
// Past the caches where the target can; p is a multiple of 64 bytes.
template <class V>
ANNX_INLINE void stream(typename V::Scalar* p, V a) {
  store(p, a);
}
#endif

// Integers that are not above 2^51 in magnitude, exact; the same trick on every target.
ANNX_INLINE I64 to_int(F64 v) {
  const F64 magic = F64::splat(0x1.8p52);
  return as_int(v + magic) - as_int(magic);
}
ANNX_INLINE F64 to_float(I64 v) {
  const F64 magic = F64::splat(0x1.8p52);
  return as_float(v + as_int(magic)) - magic;
}

// Float bits to bfloat16 bits in the low half of each lane: nearest even, NaN stays NaN (quiet).
ANNX_INLINE I32 bf16_bits(F32 v) {
  const I32 bits = as_int(v);
  const I32 upper = shr_logical<16>(bits);
  const I32 rounded = shr_logical<16>(bits + I32::splat(0x7fff) + (upper & I32::splat(1)));
  return select(is_nan(v), upper | I32::splat(0x40), rounded);
}
ANNX_INLINE F32 load_bf16(const uint16_t* p) { return as_float(shl<16>(load_u16(p))); }
ANNX_INLINE F32 load_bf16_n(const uint16_t* p, int64_t n) {
  return as_float(shl<16>(load_u16_n(p, n)));
}
ANNX_INLINE void store_bf16(uint16_t* p, F32 v) { store_u16(p, bf16_bits(v)); }
ANNX_INLINE void store_bf16_n(uint16_t* p, F32 v, int64_t n) { store_u16_n(p, bf16_bits(v), n); }

// f on float64 vectors, applied to float32 ones: widen, f, round once.
template <class F>
ANNX_INLINE F32 through_f64(F32 a, F32 b, F f) {
  return narrow(f(widen_lo(a), widen_lo(b)), f(widen_hi(a), widen_hi(b)));
}
