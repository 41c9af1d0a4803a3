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
// anyway: memory then sees one write instead of a read and a write. The machine's own prefetcher
// keeps too few lines in flight beside such stores: these ask further ahead.
constexpr int64_t kStreamAhead = 2048;  // bytes
constexpr int64_t kStreamRun = 16384;   // elements

template <class T>
ANNX_INLINE void ask_ahead(const T* p) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kStreamAhead);
}

template <class V, class F>
ANNX_INLINE void map1_stream(const typename V::Scalar* a, typename V::Scalar* out, int64_t n, F f) {
  if (reinterpret_cast<uintptr_t>(out) % 64 != 0) return map1<V>(a, out, n, f);
  int64_t i = 0;
  for (; i + V::lanes <= n; i += V::lanes) {
    ask_ahead(a + i);
    stream(out + i, f(load<V>(a + i)));
  }
  if (i < n) store_n(out + i, f(load_n<V>(a + i, n - i)), n - i);
}

template <class V, class F>
ANNX_INLINE void map2_stream(const typename V::Scalar* a, const typename V::Scalar* b,
                             typename V::Scalar* out, int64_t n, F f) {
  if (reinterpret_cast<uintptr_t>(out) % 64 != 0) return map2<V>(a, b, out, n, f);
  int64_t i = 0;
  // A short run is a row of many, and b may be the same one again: what lies behind it is not asked.
  const bool both = n >= kStreamRun;
  for (; i + V::lanes <= n; i += V::lanes) {
    ask_ahead(a + i);
    if (both) ask_ahead(b + i);
    stream(out + i, f(load<V>(a + i), load<V>(b + i)));
  }
  if (i < n) store_n(out + i, f(load_n<V>(a + i, n - i), load_n<V>(b + i, n - i)), n - i);
}
