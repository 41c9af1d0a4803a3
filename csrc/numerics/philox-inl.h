// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and the
// numbers made of it. Needs exp_log-inl.h and trig-inl.h.
//
// A stream is named by a 64-bit seed (the key) and a 64-bit stream number (counter words 2 and 3);
// counter words 0 and 1 count blocks of four 32-bit words.
//   uint32, float32 uniform: element e is word e % 4 of block e / 4.
//   float32 normal: the same, from the pair of words (0, 1) or (2, 3) that holds the element.
//   float64 uniform: element e is words 2 (e % 2) and 2 (e % 2) + 1 of block e / 2.
//   float64 normal: from both doubles of block e / 2.
// So an element depends on seed, stream and e alone: not on lanes, chunks or the target.

// Round number `round` for one counter per lane.
template <int round, class I>
ANNX_INLINE void philox_round(I c[4], uint32_t key0, uint32_t key1) {
  const I multiplier0 = splat<I>(static_cast<int32_t>(0xd2511f53u));
  const I multiplier1 = splat<I>(static_cast<int32_t>(0xcd9e8d57u));
  const I hi0 = mulhi_u32(multiplier0, c[0]), lo0 = multiplier0 * c[0];
  const I hi1 = mulhi_u32(multiplier1, c[2]), lo1 = multiplier1 * c[2];
  c[0] = hi1 ^ (c[1] ^ splat<I>(static_cast<int32_t>(key0 + round * 0x9e3779b9u)));
  c[1] = lo1;
  c[2] = hi0 ^ (c[3] ^ splat<I>(static_cast<int32_t>(key1 + round * 0xbb67ae85u)));
  c[3] = lo0;
}

// The ten rounds. Written out: in a loop the words change places in registers and memory each round.
template <class I>
ANNX_INLINE void philox4x32(I c0, I c1, I c2, I c3, uint32_t key0, uint32_t key1, I out[4]) {
  I c[4] = {c0, c1, c2, c3};
  philox_round<0>(c, key0, key1);
  philox_round<1>(c, key0, key1);
  philox_round<2>(c, key0, key1);
  philox_round<3>(c, key0, key1);
  philox_round<4>(c, key0, key1);
  philox_round<5>(c, key0, key1);
  philox_round<6>(c, key0, key1);
  philox_round<7>(c, key0, key1);
  philox_round<8>(c, key0, key1);
  philox_round<9>(c, key0, key1);
  for (int w = 0; w < 4; ++w) out[w] = c[w];
}

// Blocks first, first + 1, … of a stream, one per lane: out[w] holds word w of each.
template <class I>
ANNX_INLINE void philox_blocks(uint64_t seed, uint64_t stream, uint64_t first, I out[4]) {
  const I low = splat<I>(static_cast<int32_t>(first)) + iota<I>();
  const I high = splat<I>(static_cast<int32_t>(first >> 32));
  // Unsigned low < first, in a signed comparison: the lane carried.
  const I flip = splat<I>(INT32_MIN);
  const I start = splat<I>(static_cast<int32_t>(first)) ^ flip;
  const I carried = select(lt(low ^ flip, start), high + splat<I>(1), high);
  philox4x32(low, carried, splat<I>(static_cast<int32_t>(stream)),
             splat<I>(static_cast<int32_t>(stream >> 32)), static_cast<uint32_t>(seed),
             static_cast<uint32_t>(seed >> 32), out);
}

// [0, 1), a multiple of 2^-24.
template <class V>
ANNX_INLINE V uniform_of_word(typename V::Int word) {
  return to_float(shr_logical<8>(word)) * splat<V>(0x1p-24f);
}
// [0, 1), a multiple of 2^-53.
ANNX_INLINE double uniform_of_words(uint32_t high, uint32_t low) {
  const uint64_t word = uint64_t{high} << 32 | low;
  return static_cast<double>(static_cast<int64_t>(word >> 11)) * 0x1p-53;
}

// Box and Muller: two normal numbers from radius in (0, 1] and angle in [0, 1) turns.
template <class V>
ANNX_INLINE void normal_pair(V radius, V angle, V* first, V* second) {
  const V r = sqrt(splat<V>(-2) * log(radius));
  V sine, cosine;
  const V two_pi = splat<V>(static_cast<typename V::Scalar>(0x1.921fb54442d18p+2));
  sincos_of_turns(reduce_moderate_angle(angle * two_pi), &sine, &cosine);
  *first = r * cosine;
  *second = r * sine;
}

// Two normal numbers per lane from two words; the radius takes 31 bits, so that |z| reaches 6.6.
template <class V>
ANNX_INLINE void normal_pair_of_words(typename V::Int a, typename V::Int b, V* first, V* second) {
  const V radius = fma(to_float(shr_logical<1>(a)), splat<V>(0x1p-31f), splat<V>(0x1p-32f));
  normal_pair(radius, uniform_of_word<V>(b), first, second);
}

// Four vectors of elements 4 i + w from the words of one block per lane.
template <class V>
struct WordBits {
  ANNX_INLINE_MEMBER void operator()(const typename V::Int words[4], V out[4]) const {
    for (int w = 0; w < 4; ++w) out[w] = as_float(words[w]);
  }
};
template <class V>
struct UniformOfWords {
  ANNX_INLINE_MEMBER void operator()(const typename V::Int words[4], V out[4]) const {
    for (int w = 0; w < 4; ++w) out[w] = uniform_of_word<V>(words[w]);
  }
};
template <class V>
struct NormalOfWords {
  ANNX_INLINE_MEMBER void operator()(const typename V::Int words[4], V out[4]) const {
    normal_pair_of_words(words[0], words[1], &out[0], &out[1]);
    normal_pair_of_words(words[2], words[3], &out[2], &out[3]);
  }
};

// Elements begin … begin + n - 1 of a stream of 32-bit elements; V is the float32 vector.
template <class V, class Convert>
ANNX_INLINE void philox_fill(uint64_t seed, uint64_t stream, int64_t begin, float* out, int64_t n,
                             Convert convert) {
  constexpr int64_t group = 4 * V::lanes;
  int64_t done = 0;
  while (done < n) {
    const int64_t element = begin + done;
    typename V::Int words[4];
    philox_blocks(seed, stream, static_cast<uint64_t>(element / 4), words);
    V values[4];
    convert(words, values);
    const int64_t skip = element % 4;
    const int64_t count = group - skip < n - done ? group - skip : n - done;
    if (count == group) {
      store_interleaved4(out + done, values[0], values[1], values[2], values[3]);
    } else {
      float buffer[group];
      store_interleaved4(buffer, values[0], values[1], values[2], values[3]);
      for (int64_t i = 0; i < count; ++i) out[done + i] = buffer[skip + i];
    }
    done += count;
  }
}

// The same for streams of float64; W is the float32 vector, whose lanes hold the words.
template <class W, class V>
ANNX_INLINE void philox_fill_wide(uint64_t seed, uint64_t stream, int64_t begin, double* out,
                                  int64_t n, bool normal) {
  constexpr int64_t group = 2 * W::lanes;
  int64_t done = 0;
  while (done < n) {
    const int64_t element = begin + done;
    typename W::Int words[4];
    philox_blocks(seed, stream, static_cast<uint64_t>(element / 2), words);
    float bits[2 * group];
    store_interleaved4(bits, as_float(words[0]), as_float(words[1]), as_float(words[2]),
                       as_float(words[3]));
    double first[W::lanes], second[W::lanes];
    for (int i = 0; i < W::lanes; ++i) {
      uint32_t block[4];
      __builtin_memcpy(block, bits + 4 * i, sizeof(block));
      first[i] = uniform_of_words(block[0], block[1]);
      second[i] = uniform_of_words(block[2], block[3]);
    }
    if (normal) {
      for (int i = 0; i < W::lanes; i += V::lanes) {
        // 1 - u is exact and in (0, 1].
        V a, b;
        normal_pair(splat<V>(1) - load<V>(first + i), load<V>(second + i), &a, &b);
        store(first + i, a);
        store(second + i, b);
      }
    }
    const int64_t skip = element % 2;
    const int64_t count = group - skip < n - done ? group - skip : n - done;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t j = skip + i;
      out[done + i] = j % 2 == 0 ? first[j / 2] : second[j / 2];
    }
    done += count;
  }
}
