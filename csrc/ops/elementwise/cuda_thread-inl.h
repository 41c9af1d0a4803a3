// What one thread of an elementwise kernel does: read a pack of neighbouring elements of each input,
// apply the row to each, write a pack. Included after dispatch/begin.h for the target CUDA; compiled
// for the CPU by tests.
//
// A Row has inputs (1 to 3), width (elements of a pack), strided_out, the storage types In0, In1,
// In2 and Out, and `static Out apply(In0, [In1, [In2,]] const double* params)`.

using cuda::Launch;
using cuda::Side;

// As wide as its alignment, up to 16 bytes: one load or store instruction.
template <class T, int Width>
struct alignas(sizeof(T) * Width) Pack {
  T v[Width];
};

#if defined(__CUDACC__)
#define ANNX_UNROLL _Pragma("unroll")
#else
#define ANNX_UNROLL
#endif

template <class T, int Width>
ANNX_INLINE Pack<T, Width> load_pack(const Side& side, uint32_t first) {
  if (side.walk == cuda::kVector)
    return *reinterpret_cast<const Pack<T, Width>*>(reinterpret_cast<const T*>(side.data) + first);
  Pack<T, Width> pack;
  T one;
  __builtin_memcpy(&one, &side.constant, sizeof(T));
  ANNX_UNROLL
  for (int j = 0; j < Width; ++j) pack.v[j] = one;
  return pack;
}

template <class T>
ANNX_INLINE T load_one(const Launch& l, const Side& side, uint32_t i) {
  if (side.walk == cuda::kConstant) {
    T one;
    __builtin_memcpy(&one, &side.constant, sizeof(T));
    return one;
  }
  const int64_t at = side.walk == cuda::kStrided ? cuda::offset_of(l, side.strides, i) : i;
  return reinterpret_cast<const T*>(side.data)[at];
}

template <class Row>
ANNX_INLINE void run_pack(const Launch& l, uint32_t first) {
  constexpr int width = Row::width;
  using Out = Pack<typename Row::Out, width>;
  Out out;
  const auto a = load_pack<typename Row::In0, width>(l.in[0], first);
  if constexpr (Row::inputs == 1) {
    ANNX_UNROLL
    for (int j = 0; j < width; ++j) out.v[j] = Row::apply(a.v[j], l.params);
  } else if constexpr (Row::inputs == 2) {
    const auto b = load_pack<typename Row::In1, width>(l.in[1], first);
    ANNX_UNROLL
    for (int j = 0; j < width; ++j) out.v[j] = Row::apply(a.v[j], b.v[j], l.params);
  } else {
    const auto b = load_pack<typename Row::In1, width>(l.in[1], first);
    const auto c = load_pack<typename Row::In2, width>(l.in[2], first);
    ANNX_UNROLL
    for (int j = 0; j < width; ++j) out.v[j] = Row::apply(a.v[j], b.v[j], c.v[j], l.params);
  }
  *reinterpret_cast<Out*>(reinterpret_cast<typename Row::Out*>(l.out.data) + first) = out;
}

template <class Row>
ANNX_INLINE void run_one(const Launch& l, uint32_t i) {
  int64_t at = i;
  if constexpr (Row::strided_out) {
    if (l.out.walk == cuda::kStrided) at = cuda::offset_of(l, l.out.strides, i);
  }
  typename Row::Out& out = reinterpret_cast<typename Row::Out*>(l.out.data)[at];
  const auto a = load_one<typename Row::In0>(l, l.in[0], i);
  if constexpr (Row::inputs == 1) {
    out = Row::apply(a, l.params);
  } else if constexpr (Row::inputs == 2) {
    out = Row::apply(a, load_one<typename Row::In1>(l, l.in[1], i), l.params);
  } else {
    out = Row::apply(a, load_one<typename Row::In1>(l, l.in[1], i),
                     load_one<typename Row::In2>(l, l.in[2], i), l.params);
  }
}

// A block covers threads * width neighbouring elements: a pack per thread where all sides allow it,
// else element by element, neighbouring threads on neighbouring elements.
template <class Row>
ANNX_INLINE void elementwise_thread(const Launch& l, uint32_t block, uint32_t thread,
                                    uint32_t threads) {
  constexpr uint32_t width = Row::width;
  const uint32_t begin = block * threads * width, rest = l.count - begin;
  const uint32_t end = begin + (rest < threads * width ? rest : threads * width);
  uint32_t i = begin + thread, step = threads;
  if (l.packed) {
    i = begin + thread * width;
    step = 1;
    if (i + width <= end) return run_pack<Row>(l, i);
  }
#if defined(__CUDACC__)
#pragma unroll 1
#endif
  for (; i < end; i += step) run_one<Row>(l, i);
}

#undef ANNX_UNROLL

// Packs of at most 16 bytes and 8 elements, by the larger of the element sizes.
constexpr int pack_width(size_t in, size_t out) {
  const size_t size = in > out ? in : out, fit = cuda::kVectorBytes / size;
  return static_cast<int>(fit < 8 ? fit : 8);
}

// Lanes and how they are stored.
template <class V>
struct Lane {
  using Stored = typename V::Scalar;
  ANNX_INLINE V from(Stored s) { return V{s}; }
  ANNX_INLINE Stored to(V v) { return v.v; }
};
template <class T>
struct Lane<IntLane<T>> {
  using Stored = T;
  ANNX_INLINE IntLane<T> from(T s) { return IntLane<T>::load(&s); }
  ANNX_INLINE T to(IntLane<T> v) {
    T s{};
    v.store(&s);
    return s;
  }
};

ANNX_INLINE uint8_t truth_of(M32 m) { return m.v != 0; }
ANNX_INLINE uint8_t truth_of(M64 m) { return m.v != 0; }
ANNX_INLINE uint8_t truth_of(bool m) { return m; }

// A formula F (a struct with `template <class V> static apply`) over the lanes V.
template <class V, class F, int Inputs>
struct FormulaRow {
  using In0 = typename Lane<V>::Stored;
  using In1 = In0;
  using In2 = In0;
  using Out = In0;
  static constexpr int inputs = Inputs, width = pack_width(sizeof(In0), sizeof(Out));
  static constexpr bool strided_out = false;
  ANNX_INLINE Out apply(In0 a, const double* p) {
    return Lane<V>::to(F::template apply<V>(Lane<V>::from(a), p));
  }
  ANNX_INLINE Out apply(In0 a, In1 b, const double* p) {
    return Lane<V>::to(F::template apply<V>(Lane<V>::from(a), Lane<V>::from(b), p));
  }
  ANNX_INLINE Out apply(In0 a, In1 b, In2 c, const double* p) {
    return Lane<V>::to(
        F::template apply<V>(Lane<V>::from(a), Lane<V>::from(b), Lane<V>::from(c), p));
  }
};

// The same with a bool result.
template <class V, class F>
struct CompareRow {
  using In0 = typename Lane<V>::Stored;
  using In1 = In0;
  using Out = uint8_t;
  static constexpr int inputs = 2, width = pack_width(sizeof(In0), sizeof(Out));
  static constexpr bool strided_out = false;
  ANNX_INLINE Out apply(In0 a, In1 b, const double* p) {
    return truth_of(F::template apply<V>(Lane<V>::from(a), Lane<V>::from(b), p));
  }
};

// Bits of T wherever the condition's byte is set.
template <class T>
struct WhereRow {
  using In0 = uint8_t;
  using In1 = T;
  using In2 = T;
  using Out = T;
  static constexpr int inputs = 3, width = pack_width(sizeof(T), sizeof(T));
  static constexpr bool strided_out = false;
  ANNX_INLINE Out apply(In0 c, In1 a, In2 b, const double*) { return c != 0 ? a : b; }
};

template <class T>
struct CopyRow {
  using In0 = T;
  using Out = T;
  static constexpr int inputs = 1, width = pack_width(sizeof(T), sizeof(T));
  static constexpr bool strided_out = true;
  ANNX_INLINE Out apply(In0 a, const double*) { return a; }
};

#include "ops/elementwise/row_functions-inl.h"
