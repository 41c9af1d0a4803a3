// Dropout of float32: the random words are made, compared and dropped in registers and L1.

namespace {

template <bool Kept>
void dropout_run(uint64_t seed, uint64_t stream, int64_t begin, const float* x, float* y,
                 uint8_t* mask, const float* other, int64_t n, float p, float scale) {
  constexpr int64_t L = F32::lanes, group = 4 * L;
  // uniform >= p for the uniform word / 2^24 of numerics/philox-inl.h, among integers.
  const I32 below = splat<I32>(static_cast<int32_t>(__builtin_ceil(double{p} * 0x1p24)) - 1);
  const F32 factor = splat<F32>(scale);
  for (int64_t done = 0; done < n;) {
    const int64_t element = begin + done, skip = element % 4;
    I32 words[4];
    philox_blocks(seed, stream, static_cast<uint64_t>(element / 4), words);
    alignas(64) float bits[group + L];
    store_interleaved4(bits, as_float(words[0]), as_float(words[1]), as_float(words[2]),
                       as_float(words[3]));
    const int64_t count = group - skip < n - done ? group - skip : n - done;
    for (int64_t i = 0; i < count; i += L) {
      const auto kept = gt(shr_logical<8>(as_int(load<F32>(bits + skip + i))), below);
      const int64_t left = count - i;
      if (Kept) {
        if (left >= L)
          store_bool(mask + done + i, kept);
        else
          store_bool_n(mask + done + i, kept, left);
      }
      const int64_t at = done + i;
      if (left >= L) {
        F32 v = select(kept, load<F32>(x + at) * factor, zero<F32>());
        if (Kept && other) v = v + load<F32>(other + at);
        store(y + at, v);
      } else {
        F32 v = select(kept, load_n<F32>(x + at, left) * factor, zero<F32>());
        if (Kept && other) v = v + load_n<F32>(other + at, left);
        store_n(y + at, v, left);
      }
    }
    done += count;
  }
}

void f32_dropout(uint64_t seed, uint64_t stream, int64_t begin, const float* x, float* y, int64_t n,
                 float p, float scale) {
  dropout_run<false>(seed, stream, begin, x, y, nullptr, nullptr, n, p, scale);
}

void f32_dropout_kept(const void* const* in, void* out, int64_t n, const double* params) {
  const auto* const x = static_cast<const float*>(in[0]);
  const auto* const mask = static_cast<const uint8_t*>(in[1]);
  auto* const y = static_cast<float*>(out);
  const F32 factor = splat<F32>(static_cast<float>(params[0]));
  constexpr int64_t L = F32::lanes;
  int64_t i = 0;
  for (; i + L <= n; i += L)
    store(y + i, select(M32::load_bool(mask + i), load<F32>(x + i) * factor, zero<F32>()));
  if (i < n) {
    const F32 v = load_n<F32>(x + i, n - i) * factor;
    store_n(y + i, select(M32::load_bool_n(mask + i, n - i), v, zero<F32>()), n - i);
  }
}

}  // namespace

extern const RandomKernels random_kernels;
const RandomKernels random_kernels = {f32_dropout, dropout_run<true>, f32_dropout_kept};
