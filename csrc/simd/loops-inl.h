// Loops over contiguous arrays for elementwise kernels: out[i] = f(a[i], …), the tail under a mask.
// f is a functor `V operator()(V…) const`, marked ANNX_INLINE_MEMBER. out may be one of the inputs
// (exactly, not shifted). Unroll > 1 helps light functors only; heavy ones run out of registers.

template <class V, int Unroll = 2, class F>
ANNX_INLINE void map1(const typename V::Scalar* a, typename V::Scalar* out, int64_t n, F f) {
  int64_t i = 0;
  for (; i + Unroll * V::lanes <= n; i += Unroll * V::lanes) {
#pragma GCC unroll 8
    for (int u = 0; u < Unroll; ++u) {
      const int64_t j = i + u * V::lanes;
      store(out + j, f(load<V>(a + j)));
    }
  }
  if constexpr (Unroll > 1) {
    for (; i + V::lanes <= n; i += V::lanes) store(out + i, f(load<V>(a + i)));
  }
  if (i < n) store_n(out + i, f(load_n<V>(a + i, n - i)), n - i);
}

template <class V, int Unroll = 2, class F>
ANNX_INLINE void map2(const typename V::Scalar* a, const typename V::Scalar* b,
                      typename V::Scalar* out, int64_t n, F f) {
  int64_t i = 0;
  for (; i + Unroll * V::lanes <= n; i += Unroll * V::lanes) {
#pragma GCC unroll 8
    for (int u = 0; u < Unroll; ++u) {
      const int64_t j = i + u * V::lanes;
      store(out + j, f(load<V>(a + j), load<V>(b + j)));
    }
  }
  if constexpr (Unroll > 1) {
    for (; i + V::lanes <= n; i += V::lanes) store(out + i, f(load<V>(a + i), load<V>(b + i)));
  }
  if (i < n) store_n(out + i, f(load_n<V>(a + i, n - i), load_n<V>(b + i, n - i)), n - i);
}

template <class V, int Unroll = 2, class F>
ANNX_INLINE void map3(const typename V::Scalar* a, const typename V::Scalar* b,
                      const typename V::Scalar* c, typename V::Scalar* out, int64_t n, F f) {
  int64_t i = 0;
  for (; i + Unroll * V::lanes <= n; i += Unroll * V::lanes) {
#pragma GCC unroll 8
    for (int u = 0; u < Unroll; ++u) {
      const int64_t j = i + u * V::lanes;
      store(out + j, f(load<V>(a + j), load<V>(b + j), load<V>(c + j)));
    }
  }
  if constexpr (Unroll > 1) {
    for (; i + V::lanes <= n; i += V::lanes) {
      store(out + i, f(load<V>(a + i), load<V>(b + i), load<V>(c + i)));
    }
  }
  if (i < n) {
    store_n(out + i, f(load_n<V>(a + i, n - i), load_n<V>(b + i, n - i), load_n<V>(c + i, n - i)),
            n - i);
  }
}

// The same past the caches, for outputs that nothing reads before they would have left the cache
// anyway: memory then sees one write instead of a read and a write. Two runs far apart go side by
// side, which keeps more lines in flight than one does. n is a multiple of the lanes, the outputs are
// aligned to 64 bytes.
constexpr int64_t kStreamAhead = 512;  // bytes
constexpr int64_t kStreamRun = 16384;  // elements

template <class T>
ANNX_INLINE void ask_ahead(const T* p) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kStreamAhead);
}

template <class V, class F>
ANNX_INLINE void map1_stream(const void* const* in, void* const* out, int64_t n, F f) {
  using T = typename V::Scalar;
  const T *a = static_cast<const T*>(in[0]), *c = static_cast<const T*>(in[1]);
  T *x = static_cast<T*>(out[0]), *y = static_cast<T*>(out[1]);
  for (int64_t i = 0; i < n; i += V::lanes) {
    ask_ahead(a + i);
    ask_ahead(c + i);
    stream(x + i, f(load<V>(a + i)));
    stream(y + i, f(load<V>(c + i)));
  }
}

// For a period see StreamFn.
template <class V, class F>
ANNX_INLINE void map2_stream(const void* const* in, void* const* out, int64_t n, int64_t period,
                             F f) {
  using T = typename V::Scalar;
  const T *a = static_cast<const T*>(in[0]), *b = static_cast<const T*>(in[1]);
  const T *c = static_cast<const T*>(in[2]), *d = static_cast<const T*>(in[3]);
  T *x = static_cast<T*>(out[0]), *y = static_cast<T*>(out[1]);
  if (period != 0) {
    int64_t at = 0;
    for (int64_t i = 0; i < n; i += V::lanes) {
      const V row = load<V>(b + at);
      ask_ahead(a + i);
      ask_ahead(c + i);
      stream(x + i, f(load<V>(a + i), row));
      stream(y + i, f(load<V>(c + i), row));
      at += V::lanes;
      at = at == period ? 0 : at;
    }
    return;
  }
  // A short run is a row of many, and b and d may be the same one again: what lies behind is not asked.
  const bool both = n >= kStreamRun;
  for (int64_t i = 0; i < n; i += V::lanes) {
    ask_ahead(a + i);
    ask_ahead(c + i);
    if (both) {
      ask_ahead(b + i);
      ask_ahead(d + i);
    }
    stream(x + i, f(load<V>(a + i), load<V>(b + i)));
    stream(y + i, f(load<V>(c + i), load<V>(d + i)));
  }
}
