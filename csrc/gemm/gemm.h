// Matrix product C = activation(alpha A B + bias), the one entry for everything that multiplies matrices.
//
//   GemmArgs<float> args;
//   args.m = 32, args.n = 128, args.k = 784;
//   args.a = x, args.a_rs = 784, args.a_cs = 1;     // A [m, k]: element (i, p) is a[i a_rs + p a_cs]
//   args.b = w, args.b_rs = 1, args.b_cs = 784;     // B [k, n]: here W [n, k] read transposed
//   args.c = y, args.c_rs = 128;                    // C [m, n]: columns are contiguous
//   args.bias = bias;                               // [n] or null
//   args.activation = Activation::relu;
//   gemm(args);
//
// Bits: element (i, j) is one chain of fma over p = 0 … k-1, from 0, or from c(i, j) when `accumulate`
// is set; then times alpha; then one addition of bias[j]; then the activation; then the sum or
// product with `other`; then the gradient. It depends on no target, tile, thread count, stride or
// batch, nor on whether B was packed before. Only where split_k_chunk(m, n, k) is not 0 does the
// shape alone cut the chain: each chunk of that many p
// is a chain (the first from 0 or c, the others from 0), and the chunks' results are added in
// ascending order. With accumulate and alpha or beta other than 1, the chain starts from 0 and the
// sum is (alpha chain) + (beta c), each product rounded.
//
// C overlaps neither A, B, bias nor other. Sizes may be 0: with k = 0 the product is 0. Strides may be
// anything, 0 (broadcast) and negative included. Fast are operands with one stride of 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "dispatch/cpu_features.h"

namespace annx {

// gelu is the exact one (erf), gelu_tanh its tanh form; the formulas are in activation-inl.h.
enum class Activation : uint8_t { none, relu, sigmoid, tanh, gelu, gelu_tanh, silu };
inline constexpr int kActivationCount = 7;

// The last step of a backward product: the gradient of an activation, laid out as C with its own row
// stride. Either `saved` is given and c becomes c activation'(saved): saved is the activation's output
// for relu, sigmoid and tanh, else its input. Or `grad` is given, c is that input (recomputed), and
// becomes grad activation'(c), for activations that read their input.
template <class T>
struct GemmGradient {
  Activation activation = Activation::none;
  const T* saved = nullptr;
  const T* grad = nullptr;
  int64_t rs = 0;
};

// A matrix laid out as C with its own row stride, which is added to C or multiplied by it: a residual, or
// the derivative of an activation. Not for batches.
enum class GemmCombine : uint8_t { none, add, multiply };
template <class T>
struct GemmOther {
  GemmCombine how = GemmCombine::none;
  const T* data = nullptr;
  int64_t rs = 0;
};

template <class T>
struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  int64_t a_rs = 0, a_cs = 1;
  const T* b = nullptr;
  int64_t b_rs = 0, b_cs = 1;
  T* c = nullptr;
  int64_t c_rs = 0;
  bool accumulate = false;
  T alpha = 1;
  T beta = 1;  // what c counts when accumulate is set
  const T* bias = nullptr;
  Activation activation = Activation::none;
  GemmOther<T> other;
  GemmGradient<T> gradient;
};

// Two batch dimensions, so that the heads of [batch, time, head, dim] need no copy; strides in
// elements, 0 to broadcast A or B. The C of different batch entries do not overlap.
struct GemmBatch {
  int64_t outer = 1, inner = 1;
  int64_t a_outer = 0, a_inner = 0;
  int64_t b_outer = 0, b_inner = 0;
  int64_t c_outer = 0, c_inner = 0;
  int64_t gradient_outer = 0, gradient_inner = 0;  // of args.gradient's matrix
};

// Both run on the thread pool, except for products too small to share.
void gemm(const GemmArgs<float>& args);
void gemm(const GemmArgs<double>& args);
void gemm_batched(const GemmArgs<float>& args, const GemmBatch& batch);
void gemm_batched(const GemmArgs<double>& args, const GemmBatch& batch);

// B [k, n] packed once for many products, as weights are for inference. Reading it is thread-safe.
template <class T>
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // Element (p, j) is b[p b_rs + j b_cs]: the weight [out, in] of a linear layer has b_rs = 1.
  PackedMatrix(int64_t k, int64_t n, const T* b, int64_t b_rs, int64_t b_cs);
  PackedMatrix(PackedMatrix&& other) noexcept { *this = std::move(other); }
  PackedMatrix& operator=(PackedMatrix&& other) noexcept {
    std::swap(k_, other.k_), std::swap(n_, other.n_), std::swap(data_, other.data_);
    std::swap(target_, other.target_);
    return *this;
  }
  ~PackedMatrix();

  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  const T* data() const { return data_; }
  Target target() const { return target_; }  // for which it was packed
  size_t bytes() const;

 private:
  int64_t k_ = 0, n_ = 0;
  T* data_ = nullptr;
  Target target_ = Target::scalar;
};

// As gemm(args); n, k and B are those of `b`, whatever stands in args.
void gemm(const GemmArgs<float>& args, const PackedMatrix<float>& b);
void gemm(const GemmArgs<double>& args, const PackedMatrix<double>& b);

// Length of the chunks k is cut into, or 0 for one chain.
int64_t split_k_chunk(int64_t m, int64_t n, int64_t k);

}  // namespace annx
