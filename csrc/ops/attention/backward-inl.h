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
    int64_t c = 0;
    for (; c + V::lanes <= cols; c += V::lanes) {
      store(buffer + r * width + c, load<V>(p + r * rs + c));
    }
    if (c < cols) store(buffer + r * width + c, load_n<V>(p + r * rs + c, cols - c));
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

// A panel [cols, lanes] as `count` rows. A few rows at a time: where all rows fall into one set of the
// cache, their lines are still there when they become full.
template <class V>
ANNX_INLINE void panel_to_rows(const typename V::Scalar* panel, int64_t count, int64_t cols,
                               typename V::Scalar* out, int64_t rs) {
  constexpr int kBlock = kTransposeBlock<typename V::Scalar>;
  for (int64_t j = 0; j < count; j += kBlock) {
    const int64_t rows = count - j < kBlock ? count - j : kBlock;
    transpose_padded(cols, rows, panel + j, V::lanes, out + j * rs, rs, false);
  }
}

// Rows first … end - 1 of whole vectors.
template <class V>
ANNX_INLINE void clear_rows(typename V::Scalar* sum, int64_t first, int64_t end, int64_t width) {
  for (int64_t i = first * width; i < end * width; i += V::lanes) store(sum + i, zero<V>());
}

// Sums, rows of whole vectors, times factor as they are asked for. No result is -0, as where autograd
// adds up the gradients of slices (kWritesParts).
template <class V>
ANNX_NOINLINE void write_sums(const typename V::Scalar* sum, typename V::Scalar factor,
                              int64_t rows, int64_t cols, typename V::Scalar* out, int64_t rs) {
  const V times = splat<V>(factor);
  for (int64_t r = 0; r < rows; ++r, out += rs) {
    int64_t c = 0;
    for (; c + V::lanes <= cols; c += V::lanes, sum += V::lanes) {
      store(out + c, load<V>(sum) * times + zero<V>());
    }
    if (c == cols) continue;
    store_n(out + c, load<V>(sum) * times + zero<V>(), cols - c);
    sum += V::lanes;
  }
}

template <class T>
struct BackwardTiles {
  T *qt, *gt, *dqt, *lse, *delta, *scores, *dp, *mask, *keep;
  Rows<T> k, v, q, g;
};

// What comes after the keys before `key`, for the block of queries from `first` on: its next tile of
// keys or, after the last, what it writes and the next block, of this head or of the next.
template <class T>
ANNX_INLINE Ahead<T> backward_ahead(const AttentionBackward<T>& work,
                                    const AttentionBackward<T>* next, int64_t first, int64_t key,
                                    int64_t end) {
  constexpr int64_t Q = kAttentionQueries, K = kAttentionBackwardKeys;
  Ahead<T> ahead;
  const AttentionBackward<T>* then = &work;
  if (key >= end) {
    const AttentionHead<T>& h = work.head;
    const int64_t rest = h.queries - first;
    ask(&ahead, work.dq + first * work.dq_rs, work.dq_rs, rest < Q ? rest : Q, h.dim);
    first += Q;
    if (rest <= Q) {
      if (work.last_head) {
        ask(&ahead, work.dk, work.dk_rs, work.count, h.dim);
        ask(&ahead, work.dv, work.dv_rs, work.count, h.value_dim);
      }
      if (next == nullptr) return ahead;
      then = next;
      first = 0;
    }
    const AttentionHead<T>& m = then->head;
    const int64_t rows = m.queries - first < Q ? m.queries - first : Q;
    ask(&ahead, m.q + first * m.q_rs, m.q_rs, rows, m.dim);
    ask(&ahead, then->grad + first * then->grad_rs, then->grad_rs, rows, m.value_dim);
    ask(&ahead, then->out + first * then->out_rs, then->out_rs, rows, m.value_dim);
    key = then->first;
    end = key + then->count;
  }
  const AttentionHead<T>& h = then->head;
  const int64_t rows = end - key < K ? end - key : K;
  ask(&ahead, h.k + key * h.k_rs, h.k_rs, rows, h.dim);
  ask(&ahead, h.v + key * h.v_rs, h.v_rs, rows, h.value_dim);
  return ahead;
}

// One block of queries against one tile of keys.
template <class V>
ANNX_INLINE void backward_tile(const AttentionBackward<typename V::Scalar>& work,
                               const BackwardTiles<typename V::Scalar>& t, int64_t first,
                               int64_t count, int64_t key, int64_t keys,
                               Ahead<typename V::Scalar>* ahead) {
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
    product<V>(
        {rows, h.dim, t.k.p, t.k.rs, 1, t.qt + i * h.dim, L, t.scores + i, Q, Start::zero, nullptr},
        ahead);
    product<V>({rows, h.value_dim, t.v.p, t.v.rs, 1, t.gt + i * h.value_dim, L, t.dp + i, Q,
                Start::zero, nullptr},
               ahead);
    if (h.mask_kind != AttentionMask::none) mask_tile<V>(h, at, t.mask);
    if (h.dropout.active) dropout_tile<V>(h.dropout, h.keys, at, t.keep);
    gradient_column<V>(t.scores + i, t.dp + i, Q, rows, rows_seen_by_all(h, at),
                       h.mask_kind != AttentionMask::none ? t.mask : nullptr,
                       h.dropout.active ? t.keep : nullptr, load<V>(t.lse + i),
                       load<V>(t.delta + i));
    product<V>({h.dim, rows, t.k.p, 1, t.k.rs, t.dp + i, Q, dq, L,
                key == work.first ? Start::zero : Start::sum, nullptr},
               ahead);
  }
  const int64_t k_width = round_up(h.dim, L), v_width = round_up(h.value_dim, L);
  T* dk = work.dk_sum + (key - work.first) * k_width;
  T* dv = work.dv_sum + (key - work.first) * v_width;
  // The first block of queries that sees the tile begins its sums.
  const Start start = work.first_head && first == (h.causal ? key : 0) ? Start::zero : Start::sum;
  // On the diagonal keys go in groups of one vector, from the first queries that see them.
  const bool diagonal = h.causal && key + keys - 1 > first;
  for (int64_t r = 0; r < keys;) {
    const int64_t rows = diagonal && keys - r > L ? L : keys - r;
    const int64_t hidden = diagonal && key + r > first ? (key + r - first) / L * L : 0;
    const int64_t chain = count - hidden;
    for (int64_t d = 0; d < h.value_dim; d += L) {
      product<V>({rows, chain, t.scores + r * Q + hidden, Q, 1, t.g.p + hidden * t.g.rs + d, t.g.rs,
                  dv + r * v_width + d, v_width, start, nullptr},
                 ahead);
    }
    for (int64_t d = 0; d < h.dim; d += L) {
      product<V>({rows, chain, t.dp + r * Q + hidden, Q, 1, t.q.p + hidden * t.q.rs + d, t.q.rs,
                  dk + r * k_width + d, k_width, start, nullptr},
                 ahead);
    }
    r += rows;
  }
}

template <class V>
static void attention_backward(const AttentionBackward<typename V::Scalar>& work,
                               const AttentionBackward<typename V::Scalar>* next,
                               typename V::Scalar* scratch) {
  using T = typename V::Scalar;
  constexpr int64_t L = V::lanes;
  constexpr int64_t Q = kAttentionQueries;
  constexpr int64_t K = kAttentionBackwardKeys;
  const AttentionHead<T>& h = work.head;
  const int64_t first_key = work.first, key_count = work.count;
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

  // Sums of keys that no query sees.
  const int64_t seen = visible_keys(h, h.queries) - first_key;
  if (work.first_head && seen < key_count) {
    const int64_t from = seen < 0 ? 0 : seen;
    clear_rows<V>(work.dk_sum, from, key_count, round_up(h.dim, L));
    clear_rows<V>(work.dv_sum, from, key_count, round_up(h.value_dim, L));
  }

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
    t.q = pad_rows<V>(q, h.q_rs, count, h.dim, q_rows);
    t.g = pad_rows<V>(g, work.grad_rs, count, h.value_dim, g_rows);
    transpose_panels<V>(t.q.p, t.q.rs, count, h.dim, h.scale, t.qt);
    transpose_panels<V>(t.g.p, t.g.rs, count, h.value_dim, T(1), t.gt);
    // Lanes beyond the last query: an infinite lse makes their weights 0.
    const int64_t last = (count - 1) / L * L;
    store(t.lse + last, splat<V>(static_cast<T>(__builtin_inf())));
    store(t.delta + last, zero<V>());
    for (int64_t i = 0; i < count; ++i) t.lse[i] = work.lse[first + i];
    row_products<V>(t.g.p, t.g.rs, work.out + first * work.out_rs, work.out_rs, count, h.value_dim,
                    t.delta);

    for (int64_t key = first_key; key < end; key += K) {
      const int64_t keys = end - key < K ? end - key : K;
      Ahead<T> ahead = backward_ahead(work, next, first, key + keys, end);
      t.k = gather_rows<V>(h.k + key * h.k_rs, h.k_rs, keys, h.dim, k_rows);
      t.v = gather_rows<V>(h.v + key * h.v_rs, h.v_rs, keys, h.value_dim, v_rows);
      backward_tile<V>(work, t, first, count, key, keys, &ahead);
    }

    for (int64_t i = 0; i < count; i += L) {
      T* panel = t.dqt + i * h.dim;
      const bool untouched = visible_keys(h, first + i + L) <= first_key;
      for (int64_t d = 0; d < h.dim; ++d) {
        store(panel + d * L,
              untouched ? zero<V>() : load<V>(panel + d * L) * splat<V>(h.scale) + zero<V>());
      }
      const int64_t n = count - i < L ? count - i : L;
      panel_to_rows<V>(panel, n, h.dim, dq + i * work.dq_rs, work.dq_rs);
    }
  }
  if (!work.last_head) return;
  write_sums<V>(work.dk_sum, h.scale, key_count, h.dim, work.dk, work.dk_rs);
  write_sums<V>(work.dv_sum, T(1), key_count, h.value_dim, work.dv, work.dv_rs);
}
