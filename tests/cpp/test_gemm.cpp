// GEMM against a plain chain of fma, to the bit: every target, size, layout and thread count.
#include "gemm/gemm.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "check.h"
#include "core/thread_pool.h"
#include "dispatch/cpu_features.h"
#include "gemm/kernels.h"

namespace annx {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  uint64_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return state_ >> 33;
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  double value() { return static_cast<double>(next()) / (uint64_t{1} << 30) - 1.0; }

 private:
  uint64_t state_;
};

// Elements that end where an unreadable page begins: reading or writing beyond them is a crash.
template <class T>
class Guarded {
 public:
  explicit Guarded(int64_t size) : size_(size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = (static_cast<size_t>(size) * sizeof(T) + page - 1) / page * page;
    bytes_ = bytes + page;
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(static_cast<char*>(base_) + bytes, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(static_cast<char*>(base_) + bytes) - size;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, bytes_); }
  T* data() { return data_; }
  int64_t size() const { return size_; }
  void fill(Random& random) {
    for (int64_t i = 0; i < size_; ++i) data_[i] = static_cast<T>(random.value());
  }
  void fill(const std::vector<T>& values) {
    if (!values.empty()) std::memcpy(data_, values.data(), values.size() * sizeof(T));
  }

 private:
  void* base_;
  size_t bytes_;
  T* data_;
  int64_t size_;
};

enum class Layout { rows, columns, padded_rows, padded_columns, scattered };
constexpr int kLayouts = 5;

struct Strides {
  int64_t rs, cs, size;
};
Strides strides_of(Layout layout, int64_t rows, int64_t cols) {
  int64_t rs = 0;
  int64_t cs = 0;
  switch (layout) {
    case Layout::rows:
      rs = cols, cs = 1;
      break;
    case Layout::columns:
      rs = 1, cs = rows;
      break;
    case Layout::padded_rows:
      rs = cols + 5, cs = 1;
      break;
    case Layout::padded_columns:
      rs = 1, cs = rows + 3;
      break;
    case Layout::scattered:
      rs = 2 * cols + 1, cs = 2;
      break;
  }
  const int64_t size = rows == 0 || cols == 0 ? 0 : (rows - 1) * rs + (cols - 1) * cs + 1;
  return {rs, cs, size};
}

// The contract of gemm.h, word for word.
template <class T>
void reference(const GemmArgs<T>& g) {
  const int64_t chunk = split_k_chunk(g.m, g.n, g.k);
  const int64_t step = chunk == 0 ? std::max<int64_t>(g.k, 1) : chunk;
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      T total = g.accumulate ? g.c[i * g.c_rs + j] : T(0);
      for (int64_t first = 0; first < g.k; first += step) {
        T chain = first == 0 ? total : T(0);
        for (int64_t p = first; p < std::min(first + step, g.k); ++p) {
          chain = std::fma(g.a[i * g.a_rs + p * g.a_cs], g.b[p * g.b_rs + j * g.b_cs], chain);
        }
        total = first == 0 ? chain : total + chain;
      }
      if (g.bias != nullptr) total += g.bias[j];
      g.c[i * g.c_rs + j] = total;
    }
  }
}

// The scalar target's epilogue is what the others' activations are held to.
template <class T>
void reference_activation(const GemmArgs<T>& g);
template <>
void reference_activation(const GemmArgs<float>& g) {
  gemm_kernels_for(Target::scalar).f32.epilogue({g.m, g.n, g.c, g.c_rs, 1, nullptr, g.activation});
}
template <>
void reference_activation(const GemmArgs<double>& g) {
  gemm_kernels_for(Target::scalar).f64.epilogue({g.m, g.n, g.c, g.c_rs, 1, nullptr, g.activation});
}

struct Case {
  int64_t m, n, k;
  Layout a = Layout::rows;
  Layout b = Layout::rows;
  int64_t c_pad = 0;
  bool accumulate = false;
  bool bias = false;
  Activation activation = Activation::none;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "m=" << c.m << " n=" << c.n << " k=" << c.k << " a=" << static_cast<int>(c.a)
             << " b=" << static_cast<int>(c.b) << " c_pad=" << c.c_pad
             << " accumulate=" << c.accumulate << " bias=" << c.bias
             << " activation=" << static_cast<int>(c.activation);
}

// Runs one case on every target and thread count; C's padding must keep its values.
template <class T>
void check_case(const Case& test, const std::vector<int>& thread_counts = {1}) {
  Random random(static_cast<uint64_t>(test.m * 10007 + test.n * 101 + test.k));
  const Strides a_strides = strides_of(test.a, test.m, test.k);
  const Strides b_strides = strides_of(test.b, test.k, test.n);
  Guarded<T> a(a_strides.size);
  Guarded<T> b(b_strides.size);
  Guarded<T> bias(test.n);
  a.fill(random);
  b.fill(random);
  bias.fill(random);
  GemmArgs<T> args;
  args.m = test.m, args.n = test.n, args.k = test.k;
  args.a = a.data(), args.a_rs = a_strides.rs, args.a_cs = a_strides.cs;
  args.b = b.data(), args.b_rs = b_strides.rs, args.b_cs = b_strides.cs;
  args.c_rs = test.n + test.c_pad;
  args.accumulate = test.accumulate;
  args.bias = test.bias ? bias.data() : nullptr;
  args.activation = test.activation;
  const int64_t size = test.m == 0 ? 0 : (test.m - 1) * args.c_rs + test.n;
  std::vector<T> before(static_cast<size_t>(size));
  for (T& x : before) x = static_cast<T>(random.value());
  if (!test.accumulate) {
    // What C holds before must not matter.
    for (int64_t i = 0; i < test.m; ++i) {
      for (int64_t j = 0; j < test.n; ++j) {
        before[static_cast<size_t>(i * args.c_rs + j)] = std::numeric_limits<T>::quiet_NaN();
      }
    }
  }
  std::vector<T> expected = before;
  args.c = expected.data();
  reference(args);
  if (!expected.empty()) reference_activation(args);
  Guarded<T> c(size);
  args.c = c.data();
  for (const Target target : supported_targets()) {
    set_target(target);
    for (const int threads : thread_counts) {
      set_num_threads(threads);
      c.fill(before);
      gemm(args);
      int64_t wrong = 0;
      while (wrong < size && testing::same(c.data()[wrong], expected[static_cast<size_t>(wrong)])) {
        ++wrong;
      }
      CHECK_MSG(wrong == size, target_name(target)
                                   << " threads=" << threads << ' ' << test << " at row "
                                   << wrong / args.c_rs << " column " << wrong % args.c_rs << ": "
                                   << c.data()[wrong] << " not "
                                   << expected[static_cast<size_t>(wrong)]);
    }
  }
  set_target(best_target());
  set_num_threads(1);
}

Case random_options(Case test, Random& random) {
  test.a = static_cast<Layout>(random.below(kLayouts));
  test.b = static_cast<Layout>(random.below(kLayouts));
  test.c_pad = random.below(2) * 3;
  test.accumulate = random.below(2) == 1;
  test.bias = random.below(2) == 1;
  test.activation = random.below(2) == 1 ? Activation::relu : Activation::none;
  return test;
}

TEST(every_size_around_the_tiles) {
  Random random(1);
  for (int64_t m = 0; m <= 2 * kGemmMaxRows + 1; ++m) {
    for (int64_t n = 0; n <= 2 * 32 + 1; ++n) {
      check_case<float>(random_options({m, n, random.below(9)}, random));
    }
  }
  for (int64_t m = 0; m <= 2 * kGemmMaxRows + 1; ++m) {
    for (int64_t n = 0; n <= 2 * 16 + 1; ++n) {
      check_case<double>(random_options({m, n, random.below(9)}, random));
    }
  }
}

TEST(every_layout) {
  for (int a = 0; a < kLayouts; ++a) {
    for (int b = 0; b < kLayouts; ++b) {
      for (const int64_t m : {1, 3, 8, 13, 40}) {
        for (const int64_t n : {1, 4, 10, 33, 150}) {
          for (const int64_t k : {1, 10, 63, 130}) {
            Case test = {m, n, k, static_cast<Layout>(a), static_cast<Layout>(b)};
            check_case<float>(test);
            test.accumulate = test.bias = true;
            test.c_pad = 2;
            check_case<float>(test);
            if (k == 63) check_case<double>(test);
          }
        }
      }
    }
  }
}

// Large enough for packing, for several blocks of k and for several tasks.
TEST(large_and_threads) {
  for (int a = 0; a < kLayouts; ++a) {
    for (int b = 0; b < kLayouts; ++b) {
      Case test = {131, 203, 601, static_cast<Layout>(a), static_cast<Layout>(b)};
      test.bias = true;
      check_case<float>(test, {1, 2, 3, 7});
      test.accumulate = true;
      check_case<double>(test, {1, 2});
    }
  }
  // Both operands packed, in several blocks of k.
  for (const Layout a : {Layout::rows, Layout::columns, Layout::scattered}) {
    check_case<float>({197, 230, 1030, a, Layout::rows, 1, true, true, Activation::relu}, {1, 3});
    check_case<double>({203, 193, 1100, a, Layout::columns}, {1, 2});
  }
  // A few rows by columns: tasks of all rows pack both operands.
  check_case<float>({70, 530, 777, Layout::columns, Layout::columns, 1, true}, {1, 3});
  check_case<double>({131, 544, 600, Layout::columns, Layout::padded_rows, 1, false, true}, {1, 2});
  check_case<float>({300, 1100, 40, Layout::padded_rows, Layout::padded_rows}, {1, 2, 4});
  check_case<float>({1100, 70, 260, Layout::padded_columns, Layout::columns}, {1, 2, 4});
  check_case<float>({5, 2000, 700, Layout::rows, Layout::columns, 1, true}, {1, 2, 4});
  check_case<float>({2000, 5, 700, Layout::rows, Layout::rows, 1, true}, {1, 2, 4});
  check_case<float>({1, 900, 700, Layout::rows, Layout::columns}, {1, 2, 4});
  check_case<float>({900, 1, 700, Layout::rows, Layout::rows}, {1, 2, 4});
}

TEST(long_k_is_cut_by_shape) {
  CHECK_EQ(split_k_chunk(10, 128, 60000), 4096);
  CHECK_EQ(split_k_chunk(10, 128, 8191), 0);
  CHECK_EQ(split_k_chunk(128, 128, 60000), 0);
  for (const int64_t k : {8191, 8192, 8193, 20000}) {
    Case test = {10, 33, k, Layout::columns, Layout::rows, 2};
    check_case<float>(test, {1, 2, 5});
    test.accumulate = test.bias = true;
    test.activation = Activation::tanh;
    check_case<float>(test, {1, 2, 5});
    check_case<double>(test, {1, 2, 5});
  }
  check_case<float>({1, 1, 50000}, {1, 2});
}

TEST(activations) {
  for (int i = 0; i < kActivationCount; ++i) {
    Case test = {14, 37, 9, Layout::rows, Layout::columns, 1};
    test.activation = static_cast<Activation>(i);
    check_case<float>(test);
    check_case<double>(test);
    test.bias = true;
    check_case<float>(test);
    check_case<double>(test);
  }
}

double exact_activation(Activation activation, double x) {
  switch (activation) {
    case Activation::none:
      return x;
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Activation::tanh:
      return std::tanh(x);
    case Activation::gelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::silu:
      return x / (1 + std::exp(-x));
  }
  return 0;
}

template <class T>
void check_activation_values() {
  for (int which = 0; which < kActivationCount; ++which) {
    std::vector<T> x;
    for (int i = -800; i <= 800; ++i) x.push_back(static_cast<T>(i) / 100);
    const T one = 1;
    std::vector<T> c(x.size());
    GemmArgs<T> args;
    args.m = 1, args.n = static_cast<int64_t>(x.size()), args.k = 1;
    args.a = &one, args.b = x.data(), args.b_rs = args.n;
    args.c = c.data(), args.c_rs = args.n;
    args.activation = static_cast<Activation>(which);
    gemm(args);
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = exact_activation(args.activation, static_cast<double>(x[i]));
      const double error = std::abs(static_cast<double>(c[i]) - expected);
      const double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
      CHECK_MSG(error <= 8 * eps * std::max(1.0, std::abs(static_cast<double>(x[i]))),
                "activation " << which << " at " << x[i] << ": " << c[i] << " not " << expected);
    }
  }
}
TEST(activation_values) {
  check_activation_values<float>();
  check_activation_values<double>();
}

// Inner and outer batch dimensions, each operand whole or broadcast.
TEST(batched) {
  Random random(7);
  const int64_t outer = 2;
  const int64_t inner = 3;
  for (const int64_t m : {1, 4, 17, 70}) {
    for (const int64_t n : {1, 10, 40}) {
      for (const int64_t k : {0, 5, 70}) {
        for (int broadcast = 0; broadcast < 16; ++broadcast) {
          GemmArgs<float> args;
          args.m = m, args.n = n, args.k = k;
          args.a_rs = k, args.b_rs = 1, args.b_cs = k, args.c_rs = n + 1;
          GemmBatch batch;
          batch.outer = outer, batch.inner = inner;
          batch.a_inner = (broadcast & 1) != 0 ? 0 : m * k;
          batch.a_outer = (broadcast & 2) != 0 ? 0 : inner * m * k;
          batch.b_inner = (broadcast & 4) != 0 ? 0 : n * k;
          batch.b_outer = (broadcast & 8) != 0 ? 0 : inner * n * k;
          batch.c_inner = m * args.c_rs;
          batch.c_outer = inner * batch.c_inner;
          Guarded<float> a(outer * inner * m * k);
          Guarded<float> b(outer * inner * n * k);
          a.fill(random);
          b.fill(random);
          const size_t size = static_cast<size_t>(outer * batch.c_outer);
          std::vector<float> expected(size, 0.5f);
          args.accumulate = broadcast % 3 == 0;
          for (int64_t i = 0; i < outer * inner; ++i) {
            GemmArgs<float> one = args;
            one.a = a.data() + i / inner * batch.a_outer + i % inner * batch.a_inner;
            one.b = b.data() + i / inner * batch.b_outer + i % inner * batch.b_inner;
            one.c = expected.data() + i / inner * batch.c_outer + i % inner * batch.c_inner;
            reference(one);
          }
          args.a = a.data(), args.b = b.data();
          for (const Target target : supported_targets()) {
            set_target(target);
            for (const int threads : {1, 3}) {
              set_num_threads(threads);
              std::vector<float> c(size, 0.5f);
              args.c = c.data();
              gemm_batched(args, batch);
              CHECK_MSG(std::memcmp(c.data(), expected.data(), size * sizeof(float)) == 0,
                        target_name(target) << " threads=" << threads << " m=" << m << " n=" << n
                                            << " k=" << k << " broadcast=" << broadcast);
            }
          }
          set_target(best_target());
          set_num_threads(1);
        }
      }
    }
  }
}

// One B for all entries whose rows follow on: computed as one product.
TEST(batched_rows_stacked) {
  Random random(8);
  for (const int64_t m : {1, 5}) {
    Guarded<float> a(7 * m * 20);
    Guarded<float> b(20 * 30);
    a.fill(random);
    b.fill(random);
    std::vector<float> c(static_cast<size_t>(7 * m * 30));
    std::vector<float> expected = c;
    GemmArgs<float> args;
    args.m = 7 * m, args.n = 30, args.k = 20;
    args.a = a.data(), args.a_rs = 20, args.b = b.data(), args.b_rs = 30;
    args.c = expected.data(), args.c_rs = 30;
    reference(args);
    args.m = m, args.c = c.data();
    GemmBatch batch;
    batch.inner = 7, batch.a_inner = m * 20, batch.c_inner = m * 30;
    gemm_batched(args, batch);
    CHECK(c == expected);
  }
}

TEST(negative_and_zero_strides) {
  std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<float> b = {1, 10};
  std::vector<float> c(4);
  GemmArgs<float> args;
  args.m = 2, args.n = 2, args.k = 3;
  args.a = a.data() + 5, args.a_rs = -3, args.a_cs = -1;
  args.b = b.data(), args.b_rs = 0, args.b_cs = 1;
  args.c = c.data(), args.c_rs = 2;
  gemm(args);
  CHECK(c == (std::vector<float>{15, 150, 6, 60}));
}

TEST(empty_k_is_bias_and_activation_of_zero) {
  const float bias[3] = {-1, 0, 2};
  float c[6] = {9, 9, 9, 9, 9, 9};
  GemmArgs<float> args;
  args.m = 2, args.n = 3, args.c = c, args.c_rs = 3, args.bias = bias;
  args.activation = Activation::relu;
  gemm(args);
  for (int i = 0; i < 6; ++i) CHECK_EQ(c[i], i % 3 == 2 ? 2.0f : 0.0f);
  args.bias = nullptr;
  args.activation = Activation::sigmoid;
  gemm(args);
  for (const float x : c) CHECK_EQ(x, 0.5f);
}

TEST(nan_and_infinity_come_through) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Target target : supported_targets()) {
    set_target(target);
    for (const int64_t n : {1, 5, 16, 40}) {
      std::vector<float> b(static_cast<size_t>(2 * n), 1.0f);
      std::vector<float> c(static_cast<size_t>(n));
      b[static_cast<size_t>(n - 1)] = inf;
      const float a[2] = {0, 3};
      GemmArgs<float> args;
      args.m = 1, args.n = n, args.k = 2;
      args.a = a, args.a_rs = 2, args.b = b.data(), args.b_rs = n;
      args.c = c.data(), args.c_rs = n;
      args.activation = Activation::relu;
      gemm(args);
      for (int64_t j = 0; j + 1 < n; ++j) CHECK_EQ(c[static_cast<size_t>(j)], 3.0f);
      CHECK(std::isnan(c[static_cast<size_t>(n - 1)]));
    }
  }
  set_target(best_target());
}

}  // namespace
}  // namespace annx

ANNX_TEST_MAIN()
