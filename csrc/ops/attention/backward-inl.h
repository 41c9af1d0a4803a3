// Backward: blocks of queries walk over a range of keys and compute its scores again.
//   P = exp(scale Q K^T + mask - lse)   dV = P^T dO   dP = dO V^T   dS = P (dP - rowsum(dO O))
//   dQ = scale dS K                     dK = scale dS^T Q
// Scores stand as in the forward pass: keys down, queries across; rows are kAttentionQueries long.

template <class T>
static int64_t attention_backward_scratch(int64_t dim, int64_t value_dim) {
  constexpr int64_t lanes = 64 / static_cast<int64_t>(sizeof(T));
  const int64_t dims = round_up(dim, lanes) + round_up(value_dim, lanes);
  const int64_t panels = kAttentionQueries * (2 * dim + value_dim + 2);
  const int64_t rows = (kAttentionQueries + kAttentionBackwardKeys) * dims;
  return panels + rows + 2 * kAttentionBackwardKeys * (kAttentionQueries + lanes);
}

// Rows of Q or dO as vectors: in place where they are whole vectors, one after another.
template <class V>
ANNX_INLINE Rows<typename V::Scalar> pad_rows(const typename V::Scalar* p, int64_t rs, int64_t rows,
                                              int64_t cols, typename V::Scalar* buffer) {
  const int64_t width = round_up(cols, V::lanes);
  if (rs == cols && width == cols) return {p, rs};
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; c += V::lanes) {
      const int64_t n = cols - c < V::lanes ? cols - c : V::lanes;
      store(buffer + r * width + c, load_n<V>(p + r * rs + c, n));
    }
  }
  return {buffer, width};
}

// rowsum(dO O) of `count` rows.
template <class V>
ANNX_NOINLINE void row_products(const typename V::Scalar* a, int64_t a_rs,
                                const typename V::Scalar* b, int64_t b_rs, int64_t count,
                                int64_t cols, typename V::Scalar* out) {
  for (int64_t r = 0; r < count; ++r, a += a_rs, b += b_rs) {
    V sum = zero<V>();
    int64_t c = 0;
    for (; c + V::lanes <= cols; c += V::lanes) sum = fma(load<V>(a + c), load<V>(b + c), sum);
    if (c < cols) sum = fma(load_n<V>(a + c, cols - c), load_n<V>(b + c, cols - c), sum);
    out[r] = hsum(sum);
  }
}

template <class T>
struct BackwardTiles {
  T *qt, *gt, *dqt, *lse, *delta, *scores, *dp, *mask, *keep;
  Rows<T> k, v, q, g;
};

// One block of queries against one tile of keys.
template <class V>
ANNX_INLINE void backward_tile(const AttentionBackward<typename V::Scalar>& work,
                               const BackwardTiles<typename V::Scalar>& t, int64_t first,
                               int64_t count, int64_t key, int64_t keys, typename V::Scalar* dk,
                               typename V::Scalar* dv, bool first_tile) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  constexpr int64_t Q = kAttentionQueries;
  const AttentionHead<T>& h = work.head;
  for (int64_t i = 0; i < count; i += L) {
    T* dq = t.dqt + i * h.dim;
    const int64_t visible = visible_keys(h, first + i + L) - key;
    const int64_t rows = visible < keys ? visible : keys;
    if (rows <= 0) continue;
    const ColumnPlace at = {first + i, key, rows, count - i < L ? count - i : L};
    product<V>({rows, h.dim, t.k.p, t.k.rs, 1, t.qt + i * h.dim, L, t.scores + i, Q, Start::zero,
                nullptr});
    product<V>({rows, h.value_dim, t.v.p, t.v.rs, 1, t.gt + i * h.value_dim, L, t.dp + i, Q,
                Start::zero, nullptr});
    if (h.mask_kind != AttentionMask::none) mask_tile<V>(h, at, t.mask);
    if (h.dropout.active) dropout_tile<V>(h.dropout, h.keys, at, t.keep);
    gradient_column<V>(t.scores + i, t.dp + i, Q, rows, rows_seen_by_all(h, at),
                       h.mask_kind != AttentionMask::none ? t.mask : nullptr,
                       h.dropout.active ? t.keep : nullptr, load<V>(t.lse + i),
                       load<V>(t.delta + i));
    product<V>({h.dim, rows, t.k.p, 1, t.k.rs, t.dp + i, Q, dq, L,
                first_tile ? Start::zero : Start::sum, nullptr});
  }
  // On the diagonal keys go in groups of one vector, from the first queries that see them.
  const bool diagonal = h.causal && key + keys - 1 > first;
  for (int64_t r = 0; r < keys;) {
    const int64_t rows = diagonal && keys - r > L ? L : keys - r;
    const int64_t hidden = diagonal && key + r > first ? (key + r - first) / L * L : 0;
    const int64_t chain = count - hidden;
    for (int64_t d = 0; d < h.value_dim; d += L) {
      product<V>({rows, chain, t.scores + r * Q + hidden, Q, 1, t.g.p + hidden * t.g.rs + d, t.g.rs,
                  dv + r * work.dv_rs + d, work.dv_rs, Start::sum, nullptr});
    }
    for (int64_t d = 0; d < h.dim; d += L) {
      product<V>({rows, chain, t.dp + r * Q + hidden, Q, 1, t.q.p + hidden * t.q.rs + d, t.q.rs,
                  dk + r * work.dk_rs + d, work.dk_rs, Start::sum, nullptr});
    }
    r += rows;
  }
}

template <class V>
static void attention_backward(const AttentionBackward<typename V::Scalar>& work, int64_t first_key,
                               int64_t key_count, typename V::Scalar* scratch) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  constexpr int64_t Q = kAttentionQueries;
  constexpr int64_t K = kAttentionBackwardKeys;
  const AttentionHead<T>& h = work.head;
  BackwardTiles<T> t;
  t.qt = scratch;
  t.gt = t.qt + Q * h.dim;
  t.dqt = t.gt + Q * h.value_dim;
  t.lse = t.dqt + Q * h.dim;
  t.delta = t.lse + Q;
  t.scores = t.delta + Q;
  t.dp = t.scores + K * Q;
  t.mask = t.dp + K * Q;
  t.keep = t.mask + K * L;
  T* q_rows = t.keep + K * L;
  T* g_rows = q_rows + Q * round_up(h.dim, L);
  T* k_rows = g_rows + Q * round_up(h.value_dim, L);
  T* v_rows = k_rows + K * round_up(h.dim, L);

  for (int64_t first = 0; first < h.queries; first += Q) {
    const int64_t count = h.queries - first < Q ? h.queries - first : Q;
    T* dq = work.dq + first * work.dq_rs;
    const int64_t visible = visible_keys(h, first + count);
    const int64_t end = visible < first_key + key_count ? visible : first_key + key_count;
    if (end <= first_key) {
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t d = 0; d < h.dim; ++d) dq[i * work.dq_rs + d] = 0;
      }
      continue;
    }
    const T* q = h.q + first * h.q_rs;
    const T* g = work.grad + first * work.grad_rs;
    transpose_panels<V>(q, h.q_rs, count, h.dim, h.scale, t.qt);
    transpose_panels<V>(g, work.grad_rs, count, h.value_dim, T(1), t.gt);
    t.q = pad_rows<V>(q, h.q_rs, count, h.dim, q_rows);
    t.g = pad_rows<V>(g, work.grad_rs, count, h.value_dim, g_rows);
    // Lanes beyond the last query: an infinite lse makes their weights 0.
    const int64_t last = (count - 1) / L * L;
    store(t.lse + last, splat<V>(static_cast<T>(__builtin_inf())));
    store(t.delta + last, zero<V>());
    for (int64_t i = 0; i < count; ++i) t.lse[i] = work.lse[first + i];
    row_products<V>(g, work.grad_rs, work.out + first * work.out_rs, work.out_rs, count,
                    h.value_dim, t.delta);

    for (int64_t key = first_key; key < end; key += K) {
      const int64_t keys = end - key < K ? end - key : K;
      t.k = gather_rows<V>(h.k + key * h.k_rs, h.k_rs, keys, h.dim, k_rows);
      t.v = gather_rows<V>(h.v + key * h.v_rs, h.v_rs, keys, h.value_dim, v_rows);
      backward_tile<V>(work, t, first, count, key, keys, work.dk + (key - first_key) * work.dk_rs,
                       work.dv + (key - first_key) * work.dv_rs, key == first_key);
    }

    for (int64_t i = 0; i < count; i += L) {
      T* panel = t.dqt + i * h.dim;
      const bool untouched = visible_keys(h, first + i + L) <= first_key;
      for (int64_t d = 0; d < h.dim; ++d) {
        store(panel + d * L, untouched ? zero<V>() : load<V>(panel + d * L) * splat<V>(h.scale));
      }
      const int64_t n = count - i < L ? count - i : L;
      transpose_padded(h.dim, n, panel, L, dq + i * work.dq_rs, work.dq_rs, false);
    }
  }
}
