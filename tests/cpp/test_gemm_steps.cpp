// What surrounds the chains of a product: packed weights, alpha and beta, gradients of activations.
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "check.h"
#include "core/thread_pool.h"
#include "gemm/gemm.h"

namespace annx {
namespace {

template <class T>
std::vector<T> values(int64_t size, uint64_t seed) {
  std::vector<T> x(static_cast<size_t>(size));
  uint64_t state = seed * 2 + 1;
  for (T& v : x) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    v = static_cast<T>(static_cast<double>(state >> 33) / (uint64_t{1} << 30) - 1.0);
  }
  return x;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Runs `body` on every target and some thread counts.
template <class F>
void everywhere(F body) {
  for (const Target target : supported_targets()) {
    set_target(target);
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      body();
    }
  }
  set_target(best_target());
  set_num_threads(1);
}

struct Size {
  int64_t m, n, k;
};
const Size kSizes[] = {{1, 1, 1},   {1, 10, 64},   {2, 33, 70},    {5, 100, 9},     {7, 16, 130},
                       {32, 10, 0}, {64, 128, 77}, {13, 200, 600}, {200, 210, 300}, {3, 20, 9000}};

template <class T>
void check_packed() {
  for (const Size s : kSizes) {
    const std::vector<T> a = values<T>(s.m * s.k, 1), w = values<T>(s.n * s.k, 2);
    const std::vector<T> bias = values<T>(s.n, 3), before = values<T>(s.m * s.n, 4);
    for (const bool transposed : {false, true}) {
      GemmArgs<T> args;
      args.m = s.m, args.n = s.n, args.k = s.k;
      args.a = a.data(), args.a_rs = s.k;
      args.b = w.data(), args.b_rs = transposed ? 1 : s.n, args.b_cs = transposed ? s.k : 1;
      args.c_rs = s.n, args.bias = bias.data(), args.activation = Activation::tanh;
      for (const bool accumulate : {false, true}) {
        args.accumulate = accumulate;
        std::vector<T> expected = before;
        args.c = expected.data();
        gemm(args);
        everywhere([&] {
          const PackedMatrix<T> packed(s.k, s.n, args.b, args.b_rs, args.b_cs);
          GemmArgs<T> one = args;
          std::vector<T> c = before;
          one.c = c.data(), one.b = nullptr;
          gemm(one, packed);
          CHECK_MSG(same_bits(c, expected), "packed m=" << s.m << " n=" << s.n << " k=" << s.k);
        });
      }
    }
  }
}
TEST(packed_weights_give_the_same_bits) {
  check_packed<float>();
  check_packed<double>();
}

// A matrix packed under one target is used under another; it can be moved; many threads read it.
TEST(packed_weights_are_values) {
  const int64_t m = 9, n = 70, k = 40;
  const std::vector<float> a = values<float>(m * k, 1), w = values<float>(n * k, 2);
  GemmArgs<float> args;
  args.m = m, args.n = n, args.k = k;
  args.a = a.data(), args.a_rs = k, args.b = w.data(), args.b_rs = 1, args.b_cs = k;
  std::vector<float> expected(static_cast<size_t>(m * n));
  args.c = expected.data(), args.c_rs = n;
  gemm(args);
  for (const Target target : supported_targets()) {
    set_target(target);
    PackedMatrix<float> first(k, n, w.data(), 1, k);
    set_target(best_target());
    const PackedMatrix<float> packed = std::move(first);
    CHECK_EQ(first.n(), 0);
    CHECK_EQ(packed.k(), k);
    std::vector<std::vector<float>> c(4, std::vector<float>(expected.size()));
    std::vector<std::thread> readers;
    for (std::vector<float>& out : c) {
      readers.emplace_back([&packed, &out, args]() mutable {
        args.c = out.data();
        gemm(args, packed);
      });
    }
    for (std::thread& reader : readers) reader.join();
    for (const std::vector<float>& out : c) CHECK(same_bits(out, expected));
  }
}

// The words of gemm.h about alpha and beta.
template <class T>
void check_scaled() {
  for (const Size s : kSizes) {
    const std::vector<T> a = values<T>(s.m * s.k, 5), b = values<T>(s.n * s.k, 6);
    const std::vector<T> bias = values<T>(s.n, 7), before = values<T>(s.m * s.n, 8);
    for (const double alpha : {1.0, 0.375}) {
      for (const double beta : {1.0, -0.7}) {
        for (const bool accumulate : {false, true}) {
          GemmArgs<T> args;
          args.m = s.m, args.n = s.n, args.k = s.k;
          args.a = a.data(), args.a_rs = s.k, args.b = b.data(), args.b_rs = s.n;
          args.c_rs = s.n;
          const bool chained = accumulate && alpha == 1 && beta == 1;
          std::vector<T> expected = before;
          args.c = expected.data(), args.accumulate = chained;
          gemm(args);
          const T x = static_cast<T>(alpha), y = static_cast<T>(beta);
          for (size_t i = 0; i < expected.size(); ++i) {
            expected[i] = x * expected[i];
            if (accumulate && !chained) expected[i] = expected[i] + y * before[i];
            expected[i] = expected[i] + bias[i % static_cast<size_t>(s.n)];
          }
          args.alpha = x, args.beta = y, args.accumulate = accumulate, args.bias = bias.data();
          everywhere([&] {
            std::vector<T> c = before;
            args.c = c.data();
            gemm(args);
            CHECK_MSG(same_bits(c, expected), "m=" << s.m << " n=" << s.n << " alpha=" << alpha
                                                   << " beta=" << beta << ' ' << accumulate);
          });
        }
      }
    }
  }
}
TEST(alpha_and_beta) {
  check_scaled<float>();
  check_scaled<double>();
}

// The sum or product with another matrix, with a row stride of its own, comes after bias and activation,
// whoever does it: tiles in registers, edges or a pass of its own. Alpha keeps tiles from it.
template <class T>
void check_other() {
  for (const Size s : kSizes) {
    const int64_t rs = s.n + 5;
    const std::vector<T> a = values<T>(s.m * s.k, 12), b = values<T>(s.n * s.k, 13);
    const std::vector<T> bias = values<T>(s.n, 14), before = values<T>(s.m * s.n, 15);
    const std::vector<T> other = values<T>(s.m * rs, 16);
    for (const bool transposed : {false, true}) {
      for (const Activation activation : {Activation::none, Activation::relu, Activation::tanh}) {
        for (const bool accumulate : {false, true}) {
          for (const double alpha : {1.0, 0.375}) {
            GemmArgs<T> args;
            args.m = s.m, args.n = s.n, args.k = s.k;
            args.a = a.data(), args.a_rs = s.k, args.b = b.data();
            args.b_rs = transposed ? 1 : s.n, args.b_cs = transposed ? s.k : 1;
            args.c_rs = s.n, args.alpha = static_cast<T>(alpha);
            args.bias = transposed ? nullptr : bias.data();
            args.activation = activation, args.accumulate = accumulate;
            std::vector<T> plain = before;
            args.c = plain.data();
            gemm(args);
            for (const GemmCombine how : {GemmCombine::add, GemmCombine::multiply}) {
              std::vector<T> expected = plain;
              for (int64_t i = 0; i < s.m * s.n; ++i) {
                T& c = expected[static_cast<size_t>(i)];
                const T o = other[static_cast<size_t>(i / s.n * rs + i % s.n)];
                c = how == GemmCombine::add ? c + o : c * o;
              }
              args.other = {how, other.data(), rs};
              everywhere([&] {
                std::vector<T> c = before;
                args.c = c.data();
                gemm(args);
                CHECK_MSG(same_bits(c, expected),
                          "m=" << s.m << " n=" << s.n << " k=" << s.k << " activation="
                               << static_cast<int>(activation) << " how=" << static_cast<int>(how));
              });
              args.other = {};
            }
          }
        }
      }
    }
  }
}
TEST(sum_or_product_with_another_matrix) {
  check_other<float>();
  check_other<double>();
}

double derivative(Activation activation, double x) {
  const double s = 1 / (1 + std::exp(-x));
  const double phi = std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
  const double scale = std::sqrt(2 / M_PI), t = std::tanh(scale * (x + 0.044715 * x * x * x));
  switch (activation) {
    case Activation::none:
      return 1;
    case Activation::relu:
      return x > 0 ? 1 : 0;
    case Activation::sigmoid:
      return s * (1 - s);
    case Activation::tanh:
      return 1 - std::tanh(x) * std::tanh(x);
    case Activation::gelu:
      return 0.5 * (1 + std::erf(x / std::sqrt(2.0))) + x * phi;
    case Activation::gelu_tanh:
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * scale * (1 + 0.134145 * x * x);
    case Activation::silu:
      return s * (1 + x * (1 - s));
  }
  return 0;
}

// Batched, so that the strides of the gradient's matrix count too.
template <class T>
void check_gradient(Activation activation, bool by_result) {
  const int64_t batches = 2, m = 11, n = 37, k = 20, rs = n + 3;
  const std::vector<T> a = values<T>(batches * m * k, 9), b = values<T>(k * n, 10);
  std::vector<T> other = values<T>(batches * m * rs, 11);
  const std::vector<T> z = other;
  const bool reads_output = activation == Activation::relu || activation == Activation::sigmoid ||
                            activation == Activation::tanh;
  if (!by_result && reads_output) {
    for (T& v : other) {
      const double x = static_cast<double>(v);
      const double y = activation == Activation::relu      ? std::max(x, 0.0)
                       : activation == Activation::sigmoid ? 1 / (1 + std::exp(-x))
                                                           : std::tanh(x);
      v = static_cast<T>(y);
    }
  }
  GemmArgs<T> args;
  args.m = m, args.n = n, args.k = k;
  args.a = a.data(), args.a_rs = k, args.b = b.data(), args.b_rs = n, args.c_rs = n;
  GemmBatch batch;
  batch.inner = batches, batch.a_inner = m * k, batch.c_inner = m * n;
  std::vector<T> plain(static_cast<size_t>(batches * m * n));
  args.c = plain.data();
  gemm_batched(args, batch);
  args.gradient.activation = activation, args.gradient.rs = rs;
  (by_result ? args.gradient.grad : args.gradient.saved) = other.data();
  batch.gradient_inner = m * rs;
  std::vector<T> first;
  everywhere([&] {
    std::vector<T> c(plain.size());
    args.c = c.data();
    gemm_batched(args, batch);
    if (first.empty()) first = c;
    CHECK(same_bits(c, first));
  });
  const double eps = sizeof(T) == 4 ? 1e-5 : 1e-13;
  for (int64_t i = 0; i < batches * m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const size_t at = static_cast<size_t>(i * n + j), there = static_cast<size_t>(i * rs + j);
      const double product = static_cast<double>(plain[at]), o = static_cast<double>(z[there]);
      const double expected =
          by_result ? o * derivative(activation, product) : product * derivative(activation, o);
      CHECK_MSG(std::abs(static_cast<double>(first[at]) - expected) < 20 * eps,
                "activation " << static_cast<int>(activation) << ": " << first[at] << " not "
                              << expected);
    }
  }
}
TEST(gradients_of_activations) {
  for (int i = 0; i < kActivationCount; ++i) {
    const Activation activation = static_cast<Activation>(i);
    check_gradient<float>(activation, false);
    check_gradient<double>(activation, false);
  }
  for (const Activation activation : {Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
    check_gradient<float>(activation, true);
    check_gradient<double>(activation, true);
  }
}

// Few rows read B where it is, few columns take narrow tiles: every element stays one chain, and what
// lies around C stays as it was.
template <class T>
void check_few(int64_t m, int64_t n, int64_t k, bool columns, int64_t pad) {
  const int64_t stride = (columns ? k : n) + pad, c_rs = n + 3, batches = 2;
  const int64_t b_size = (columns ? n : k) * stride, c_size = m * c_rs;
  const std::vector<T> a = values<T>(batches * m * k, 1), b = values<T>(batches * b_size, 2);
  const std::vector<T> before = values<T>(batches * c_size, 3);
  GemmArgs<T> args;
  args.m = m, args.n = n, args.k = k;
  args.a = a.data(), args.a_rs = k;
  args.b = b.data(), args.b_rs = columns ? 1 : stride, args.b_cs = columns ? stride : 1;
  args.c_rs = c_rs;
  GemmBatch batch;
  batch.inner = batches;
  batch.a_inner = m * k, batch.b_inner = b_size, batch.c_inner = c_size;
  for (const bool accumulate : {false, true}) {
    std::vector<T> expected = before;
    for (int64_t e = 0; e < batches; ++e) {
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          T& c = expected[static_cast<size_t>(e * c_size + i * c_rs + j)];
          if (!accumulate) c = 0;
          for (int64_t p = 0; p < k; ++p)
            c = std::fma(a[static_cast<size_t>((e * m + i) * k + p)],
                         b[static_cast<size_t>(e * b_size + p * args.b_rs + j * args.b_cs)], c);
        }
      }
    }
    args.accumulate = accumulate;
    everywhere([&] {
      std::vector<T> c = before;
      args.c = c.data();
      gemm_batched(args, batch);
      CHECK_MSG(same_bits(c, expected), "m=" << m << " n=" << n << " k=" << k << " columns="
                                             << columns << " accumulate=" << accumulate);
    });
  }
}
TEST(few_rows_and_few_columns) {
  for (const int64_t m : {1, 2, 3, 4, 5, 8, 13, 33}) {
    for (const int64_t n : {1, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 33, 40, 70}) {
      for (const int64_t k : {1, 5, 8, 16, 37}) {
        for (const bool columns : {false, true}) {
          check_few<float>(m, n, k, columns, 0);
          check_few<double>(m, n, k, columns, 2);
        }
      }
    }
  }
  // Rows or columns of B that fall on the same sets of L1; B larger than L1 and than L2.
  for (const int64_t m : {1, 2, 4}) {
    check_few<float>(m, 70, 200, true, 56);
    check_few<float>(m, 1100, 130, false, 948);
    check_few<double>(m, 300, 257, true, 255);
    check_few<double>(m, 1030, 70, true, 0);
    check_few<float>(m, 70, 300, true, 724);
    check_few<double>(m, 70, 200, true, 312);
  }
}

}  // namespace
}  // namespace annx

ANNX_TEST_MAIN()
