// Forward: a block of queries walks over the keys tile by tile. Q^T, the weights and O^T are panels of
// one vector of queries, so that everything an inner loop touches lies in L1.

// Rows of K or V: read in place, or copied together where their distance would waste cache lines.
template <class T>
struct Rows {
  const T* p;
  int64_t rs;
};
template <class V>
ANNX_INLINE Rows<typename V::Scalar> gather_rows(const typename V::Scalar* p, int64_t rs,
                                                 int64_t rows, int64_t cols,
                                                 typename V::Scalar* buffer) {
  if (rs == cols) return {p, rs};
  for (int64_t r = 0; r < rows; ++r) {
    int64_t c = 0;
    for (; c + V::lanes <= cols; c += V::lanes) {
      store(buffer + r * cols + c, load<V>(p + r * rs + c));
    }
    copy_few(p + r * rs + c, cols - c, buffer + r * cols + c);
  }
  return {buffer, cols};
}

// count rows of `cols` elements as panels [cols, lanes], times factor; missing rows are 0.
template <class V>
ANNX_NOINLINE void transpose_panels(const typename V::Scalar* x, int64_t rs, int64_t count,
                                    int64_t cols, typename V::Scalar factor,
                                    typename V::Scalar* out) {
  constexpr int64_t L = V::lanes;
  for (int64_t i = 0; i < count; i += L, out += cols * L) {
    const int64_t n = count - i < L ? count - i : L;
    if (n < L) {
      for (int64_t c = 0; c < cols; ++c) store(out + c * L, zero<V>());
    }
    transpose_padded(n, cols, x + i * rs, rs, out, L, false);
    if (factor == 1) continue;
    for (int64_t c = 0; c < cols; ++c) store(out + c * L, load<V>(out + c * L) * splat<V>(factor));
  }
}

static int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// Keys that some of the queries before `end` see.
template <class T>
ANNX_INLINE int64_t visible_keys(const AttentionHead<T>& h, int64_t end) {
  return h.causal && end < h.keys ? end : h.keys;
}

template <class T>
static int64_t attention_forward_scratch(int64_t dim, int64_t value_dim) {
  constexpr int64_t lanes = 64 / static_cast<int64_t>(sizeof(T));
  const int64_t panels = kAttentionQueries * (dim + value_dim + 2);
  const int64_t rows = kAttentionKeys * (round_up(dim, lanes) + round_up(value_dim, lanes));
  return panels + rows + 3 * kAttentionKeys * lanes;
}

// What comes after the keys before `key`: the block's next tile of keys or, after the last, its result
// and the next block.
template <class T>
ANNX_INLINE Ahead<T> forward_ahead(const AttentionForward<T>& work, const AttentionForward<T>* next,
                                   int64_t key, int64_t end) {
  Ahead<T> ahead;
  // Few queries use a row but once: asking costs what it gains.
  if (work.count < 64 / static_cast<int64_t>(sizeof(T))) return ahead;
  const AttentionForward<T>* then = key < end ? &work : next;
  if (key >= end) {
    ask(&ahead, work.out + work.first * work.out_rs, work.out_rs, work.count, work.head.value_dim);
    if (next == nullptr) return ahead;
    const AttentionHead<T>& h = next->head;
    ask(&ahead, h.q + next->first * h.q_rs, h.q_rs, next->count, h.dim);
    key = 0;
    end = visible_keys(h, next->first + next->count);
  }
  const AttentionHead<T>& h = then->head;
  const int64_t rows = end - key < kAttentionKeys ? end - key : kAttentionKeys;
  ask(&ahead, h.k + key * h.k_rs, h.k_rs, rows, h.dim);
  ask(&ahead, h.v + key * h.v_rs, h.v_rs, rows, h.value_dim);
  return ahead;
}

template <class V>
static void attention_forward(const AttentionForward<typename V::Scalar>& work,
                              const AttentionForward<typename V::Scalar>* next,
                              typename V::Scalar* scratch) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  const AttentionHead<T>& h = work.head;
  const int64_t first = work.first, count = work.count;
  T* qt = scratch;
  T* ot = qt + kAttentionQueries * h.dim;
  T* top = ot + kAttentionQueries * h.value_dim;
  T* sum = top + kAttentionQueries;
  T* scores = sum + kAttentionQueries;
  T* mask = scores + kAttentionKeys * L;
  T* keep = mask + kAttentionKeys * L;
  T* k_rows = keep + kAttentionKeys * L;
  T* v_rows = k_rows + kAttentionKeys * round_up(h.dim, L);
  transpose_panels<V>(work.head.q + first * h.q_rs, h.q_rs, count, h.dim, h.scale, qt);
  for (int64_t i = 0; i < count; i += L) {
    store(top + i, splat<V>(static_cast<T>(-__builtin_inf())));
    store(sum + i, zero<V>());
  }

  const int64_t end = visible_keys(h, first + count);
  for (int64_t key = 0; key < end; key += kAttentionKeys) {
    const int64_t n = end - key < kAttentionKeys ? end - key : kAttentionKeys;
    Ahead<T> ahead = forward_ahead(work, next, key + n, end);
    const Rows<T> k = gather_rows<V>(h.k + key * h.k_rs, h.k_rs, n, h.dim, k_rows);
    const Rows<T> v = gather_rows<V>(h.v + key * h.v_rs, h.v_rs, n, h.value_dim, v_rows);
    for (int64_t i = 0; i < count; i += L) {
      const int64_t visible = visible_keys(h, first + i + L) - key;
      if (visible <= 0) continue;
      const ColumnPlace at = {first + i, key, visible < n ? visible : n,
                              count - i < L ? count - i : L};
      product<V>({at.rows, h.dim, k.p, k.rs, 1, qt + i * h.dim, L, scores, L, Start::zero, nullptr},
                 &ahead);
      if (h.mask_kind != AttentionMask::none) mask_tile<V>(h, at, mask);
      if (h.dropout.active) dropout_tile<V>(h.dropout, h.keys, at, keep);
      RunningSoftmax<V> state = {load<V>(top + i), load<V>(sum + i)};
      T factor[L];
      store(factor, soften_column<V>(scores, at.rows, rows_seen_by_all(h, at),
                                     h.mask_kind != AttentionMask::none ? mask : nullptr,
                                     h.dropout.active ? keep : nullptr, &state));
      store(top + i, state.top);
      store(sum + i, state.sum);
      product<V>({h.value_dim, at.rows, v.p, 1, v.rs, scores, L, ot + i * h.value_dim, L,
                  key == 0 ? Start::zero : Start::scaled, factor},
                 &ahead);
    }
  }

  for (int64_t i = 0; i < count; i += L) {
    const int64_t n = count - i < L ? count - i : L;
    const V total = load<V>(sum + i);
    const auto empty = eq(total, zero<V>());
    const V inverse = select(empty, zero<V>(), splat<V>(1) / total);
    T* o = ot + i * h.value_dim;
    for (int64_t d = 0; d < h.value_dim; ++d) {
      store(o + d * L, end == 0 ? zero<V>() : load<V>(o + d * L) * inverse);
    }
    transpose_padded(h.value_dim, n, o, L, work.out + (first + i) * work.out_rs, work.out_rs,
                     false);
    const V infinity = splat<V>(static_cast<T>(__builtin_inf()));
    store_n(work.lse + first + i, select(empty, infinity, load<V>(top + i) + log(total)), n);
  }
}
