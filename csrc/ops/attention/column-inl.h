// What happens to a column of weights: keys down the rows, one vector of queries across. So maxima
// and sums over keys are vertical, and a tile is never transposed.

// Query `first + lane` against keys key … key + rows - 1.
struct ColumnPlace {
  int64_t query, key, rows, lanes;
};

// Rows that every lane sees. Tiles start at multiples of a vector, so a tile that some lane sees has
// at least one.
template <class T>
ANNX_INLINE int64_t rows_seen_by_all(const AttentionHead<T>& h, const ColumnPlace& at) {
  const int64_t seen = at.query - at.key + 1;
  return h.causal && seen < at.rows ? seen : at.rows;
}

// The mask as numbers to add, [rows, lanes]: -inf hides a key. Lanes beyond the last query get 0.
template <class V>
ANNX_NOINLINE void mask_tile(const AttentionHead<typename V::Scalar>& h, const ColumnPlace& at,
                             typename V::Scalar* out) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  const T hidden = static_cast<T>(-__builtin_inf());
  const bool boolean = h.mask_kind == AttentionMask::boolean;
  const int64_t from = at.query * h.mask_rs + at.key * h.mask_cs;
  const uint8_t* bytes = static_cast<const uint8_t*>(h.mask) + (boolean ? from : 0);
  const T* numbers = static_cast<const T*>(h.mask) + (boolean ? 0 : from);
  if (h.mask_rs == 0 || at.lanes == 1) {
    for (int64_t r = 0; r < at.rows; ++r) {
      const int64_t i = r * h.mask_cs;
      store(out + r * L, splat<V>(!boolean ? numbers[i] : bytes[i] != 0 ? T(0) : hidden));
    }
    return;
  }
  if (at.lanes < L) {
    for (int64_t r = 0; r < at.rows; ++r) store(out + r * L, zero<V>());
  }
  if (!boolean && h.mask_cs == 1) {
    transpose_padded(at.lanes, at.rows, numbers, h.mask_rs, out, L, false);
    return;
  }
  for (int64_t j = 0; j < at.lanes; ++j) {
    const int64_t row = j * h.mask_rs;
    for (int64_t r = 0; r < at.rows; ++r) {
      const int64_t i = row + r * h.mask_cs;
      out[r * L + j] = !boolean ? numbers[i] : bytes[i] != 0 ? T(0) : hidden;
    }
  }
}

// 0 or 1 / (1 - p), [rows, lanes]. Four keys of a query are the four words of a Philox block.
template <class V>
ANNX_NOINLINE void dropout_tile(const AttentionDropout<typename V::Scalar>& d, int64_t keys,
                                const ColumnPlace& at, typename V::Scalar* out) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  const uint64_t blocks = static_cast<uint64_t>((keys + 3) / 4);  // of a row
  const uint64_t row = static_cast<uint64_t>(d.first_row + at.query);
  const I32 flip = splat<I32>(INT32_MIN);
  const I32 step = iota<I32>() * splat<I32>(static_cast<int32_t>(blocks));
  // uniform >= p for the uniform word / 2^24 of numerics/philox-inl.h, among integers.
  const I32 below = splat<I32>(static_cast<int32_t>(__builtin_ceil(double{d.p} * 0x1p24)) - 1);
  for (int64_t r = 0; r < at.rows; r += 4) {
    const uint64_t first = row * blocks + static_cast<uint64_t>((at.key + r) / 4);
    const I32 start = splat<I32>(static_cast<int32_t>(first));
    const I32 low = start + step;
    const I32 high = splat<I32>(static_cast<int32_t>(first >> 32));
    const I32 carried = select(lt(low ^ flip, start ^ flip), high + splat<I32>(1), high);
    I32 words[4];
    philox4x32(low, carried, splat<I32>(static_cast<int32_t>(d.stream)),
               splat<I32>(static_cast<int32_t>(d.stream >> 32)), static_cast<uint32_t>(d.seed),
               static_cast<uint32_t>(d.seed >> 32), words);
    for (int64_t w = 0; w < 4 && r + w < at.rows; ++w) {
      const auto keep = gt(shr_logical<8>(words[w]), below);
      if constexpr (sizeof(T) == sizeof(float)) {
        store(out + (r + w) * L, select(keep, splat<F32>(d.factor), zero<F32>()));
      } else {
        float kept[F32::lanes];
        store(kept, select(keep, splat<F32>(1), zero<F32>()));
        for (int64_t j = 0; j < L; ++j) out[(r + w) * L + j] = static_cast<T>(kept[j]) * d.factor;
      }
    }
  }
}

// Online softmax: top is the largest score so far, sum the sum of exp(score - top).
template <class V>
struct RunningSoftmax {
  V top, sum;
};

// Scores [rows, lanes] become weights; returns the factor for what was summed before. Hidden scores
// are -inf, and a weight below the normal numbers is 0: exp never works on subnormal numbers.
template <class V>
ANNX_NOINLINE V soften_column(typename V::Scalar* s, int64_t rows, int64_t seen,
                              const typename V::Scalar* mask, const typename V::Scalar* keep,
                              RunningSoftmax<V>* state) {
  constexpr int64_t L = V::lanes;
  const V hidden = splat<V>(static_cast<typename V::Scalar>(-__builtin_inf()));
  V top = state->top;
  if (mask != nullptr) {
    for (int64_t r = 0; r < rows; ++r) store(s + r * L, load<V>(s + r * L) + load<V>(mask + r * L));
  }
  for (int64_t r = 0; r < seen; ++r) top = max(top, load<V>(s + r * L));
  for (int64_t r = seen; r < rows; ++r) {
    const V v = select(first_n<V>(r - seen + 1), hidden, load<V>(s + r * L));
    store(s + r * L, v);
    top = max(top, v);
  }
  const V base = select(eq(top, hidden), zero<V>(), top);
  V sum = zero<V>();
  if (keep != nullptr) {
    for (int64_t r = 0; r < rows; ++r) {
      const V p = exp_or_zero(load<V>(s + r * L) - base);
      sum = sum + p;
      store(s + r * L, p * load<V>(keep + r * L));
    }
  } else {
    for (int64_t r = 0; r < rows; ++r) {
      const V p = exp_or_zero(load<V>(s + r * L) - base);
      sum = sum + p;
      store(s + r * L, p);
    }
  }
  const V factor = exp_or_zero(state->top - base);
  state->sum = fma(state->sum, factor, sum);
  state->top = top;
  return factor;
}

// Scores and dP [rows, lanes], rows `rs` apart, become P (after dropout) and dS = P (dP - delta).
template <class V>
ANNX_NOINLINE void gradient_column(typename V::Scalar* s, typename V::Scalar* dp, int64_t rs,
                                   int64_t rows, int64_t seen, const typename V::Scalar* mask,
                                   const typename V::Scalar* keep, V lse, V delta) {
  constexpr int64_t L = V::lanes;
  for (int64_t r = 0; r < rows; ++r) {
    V score = load<V>(s + r * rs);
    if (mask != nullptr) score = score + load<V>(mask + r * L);
    V p = exp_or_zero(score - lse);
    if (r >= seen) p = select(first_n<V>(r - seen + 1), zero<V>(), p);
    V dropped = p, g = load<V>(dp + r * rs);
    if (keep != nullptr) {
      const V kept = load<V>(keep + r * L);
      dropped = p * kept;
      g = g * kept;
    }
    store(s + r * rs, dropped);
    store(dp + r * rs, p * (g - delta));
  }
}
