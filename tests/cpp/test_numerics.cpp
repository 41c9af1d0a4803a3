// The elementary functions: stratified inputs against wider references, error bounds per function,
// equal bits on every target, the special cases of pow, and the random generator.
#include <algorithm>
#include <string>

#include "check.h"
#include "elementary.h"

namespace {

using annx::NumericsKernels;
using annx::Target;
using annx::testing::Elementary;
using annx::testing::same;
using annx::testing::ulp_error;

// A generator of the test's own, so that its inputs do not depend on what is tested.
struct SplitMix {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
};

template <class T>
T from_bits(uint64_t bits) {
  T value;
  if constexpr (sizeof(T) == 4) {
    const uint32_t low = static_cast<uint32_t>(bits);
    std::memcpy(&value, &low, sizeof(value));
  } else {
    std::memcpy(&value, &bits, sizeof(value));
  }
  return value;
}

template <class T>
std::vector<T> special_values() {
  using L = std::numeric_limits<T>;
  std::vector<T> values;
  for (T v : {T(0),
              L::denorm_min(),
              L::min(),
              std::nextafter(L::min(), T(0)),
              L::epsilon(),
              L::epsilon() / 2,
              T(0.25),
              T(0.5),
              std::nextafter(T(1), T(0)),
              T(1),
              std::nextafter(T(1), T(2)),
              T(1.5),
              T(2),
              T(3),
              T(4),
              T(10),
              T(1e10),
              L::max(),
              L::infinity(),
              L::quiet_NaN()}) {
    values.push_back(v);
    values.push_back(-v);
  }
  return values;
}

// About n inputs: special ones, all bit patterns alike, every magnitude that matters, the
// neighbourhoods of one and of the multiples of pi/2, and where exp leaves the range.
template <class T>
std::vector<T> stratified(int n) {
  std::vector<T> x = special_values<T>();
  SplitMix random{12345};
  const int each = n / 5;
  for (int i = 0; i < each; ++i) x.push_back(from_bits<T>(random.next()));
  for (int i = 0; i < each; ++i) {
    const double scale = std::ldexp(1.0, static_cast<int>(random.next() % 40) - 28);
    x.push_back(static_cast<T>((2 * random.uniform() - 1) * scale));
  }
  const double exp_range = sizeof(T) == 4 ? 110 : 760;
  for (int i = 0; i < each; ++i) {
    x.push_back(static_cast<T>((2 * random.uniform() - 1) * (i % 2 == 0 ? exp_range : 10)));
  }
  for (int i = 0; i < each; ++i) {
    const double offset =
        std::ldexp(2 * random.uniform() - 1, -static_cast<int>(random.next() % 50));
    x.push_back(static_cast<T>((i % 2 == 0 ? 1 : -1) * (1 + offset)));
  }
  for (int i = 0; i < each; ++i) {
    const double turns = static_cast<double>(random.next() >> (random.next() % 50 + 12));
    T value = static_cast<T>(turns * 0x1.921fb54442d18p+0);
    for (uint64_t steps = random.next() % 3; steps > 0; --steps) {
      value = std::nextafter(value, std::numeric_limits<T>::max());
    }
    x.push_back(i % 2 == 0 ? value : -value);
  }
  return x;
}

template <class T>
void check_functions(const Elementary<T>* begin, const Elementary<T>* end) {
  const std::vector<T> x = stratified<T>(1000000);
  const int64_t n = static_cast<int64_t>(x.size());
  std::vector<T> scalar(x.size()), out(x.size());
  for (const Elementary<T>* function = begin; function != end; ++function) {
    (annx::numerics_kernels_for(Target::scalar).*function->kernel)(x.data(), scalar.data(), n);
    double worst = 0;
    T worst_x = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double error = ulp_error(scalar[i], function->reference(x[i]));
      CHECK_MSG(error <= function->bound, function->name << "(" << x[i] << ") = " << scalar[i]
                                                         << " is wrong by " << error << " ULP");
      if (error > worst) worst = error, worst_x = x[i];
    }
    std::printf("  float%d %-8s %.4f ULP at %a (bound %.2f)\n", static_cast<int>(sizeof(T)) * 8,
                function->name, worst, static_cast<double>(worst_x), function->bound);
    for (Target target : annx::supported_targets()) {
      (annx::numerics_kernels_for(target).*function->kernel)(x.data(), out.data(), n);
      for (size_t i = 0; i < x.size(); ++i) {
        CHECK_MSG(same(out[i], scalar[i]), annx::target_name(target)
                                               << " " << function->name << "(" << x[i] << ") = "
                                               << out[i] << " but scalar gives " << scalar[i]);
      }
    }
  }
}

TEST(float32_functions) {
  check_functions(std::begin(annx::testing::kElementary32), std::end(annx::testing::kElementary32));
}

TEST(float64_functions) {
  check_functions(std::begin(annx::testing::kElementary64), std::end(annx::testing::kElementary64));
}

// Ordinary bases with exponents that keep the result in range, and every pair of bit patterns.
template <class T>
void pow_inputs(int n, std::vector<T>* x, std::vector<T>* y) {
  SplitMix random{777};
  const double log2_max = std::numeric_limits<T>::max_exponent;
  for (int i = 0; i < n; ++i) {
    switch (i % 4) {
      case 0:
        x->push_back(from_bits<T>(random.next()));
        y->push_back(from_bits<T>(random.next()));
        break;
      case 1: {  // results across the whole range, subnormal ones too
        const T base = from_bits<T>(random.next() >> 1);
        const double target = (2.3 * random.uniform() - 1.2) * log2_max;
        x->push_back(base);
        y->push_back(static_cast<T>(target / std::log2(static_cast<double>(base))));
        break;
      }
      case 2:  // bases near one
        x->push_back(static_cast<T>(
            1 + std::ldexp(2 * random.uniform() - 1, -static_cast<int>(random.next() % 30))));
        y->push_back(static_cast<T>((2 * random.uniform() - 1) *
                                    std::ldexp(1.0, static_cast<int>(random.next() % 30))));
        break;
      default:  // whole exponents and bases of both signs
        x->push_back(static_cast<T>(20 * random.uniform() - 10));
        y->push_back(static_cast<T>(static_cast<int>(random.next() % 41) - 20));
    }
  }
  for (T a : special_values<T>()) {
    for (T b : special_values<T>()) {
      x->push_back(a);
      y->push_back(b);
    }
    for (int b = -5; b <= 5; ++b) {
      x->push_back(a);
      y->push_back(static_cast<T>(b));
      x->push_back(static_cast<T>(b));
      y->push_back(a);
    }
  }
}

template <class T, class Wide>
void check_pow(void (*NumericsKernels::*kernel)(const T*, const T*, T*, int64_t), double bound) {
  std::vector<T> x, y;
  pow_inputs(1000000, &x, &y);
  const int64_t n = static_cast<int64_t>(x.size());
  std::vector<T> scalar(x.size()), out(x.size());
  (annx::numerics_kernels_for(Target::scalar).*kernel)(x.data(), y.data(), scalar.data(), n);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const Wide reference = std::pow(static_cast<Wide>(x[i]), static_cast<Wide>(y[i]));
    const double error = ulp_error(scalar[i], reference);
    CHECK_MSG(error <= bound, "pow(" << x[i] << ", " << y[i] << ") = " << scalar[i]
                                     << " is wrong by " << error << " ULP");
    worst = std::max(worst, error);
  }
  std::printf("  float%d pow %.4f ULP (bound %.2f)\n", static_cast<int>(sizeof(T)) * 8, worst,
              bound);
  for (Target target : annx::supported_targets()) {
    (annx::numerics_kernels_for(target).*kernel)(x.data(), y.data(), out.data(), n);
    for (size_t i = 0; i < x.size(); ++i) {
      CHECK_MSG(same(out[i], scalar[i]), annx::target_name(target)
                                             << " pow(" << x[i] << ", " << y[i] << ") = " << out[i]
                                             << " but scalar gives " << scalar[i]);
    }
  }
}

TEST(float32_pow) { check_pow<float, double>(&NumericsKernels::f32_pow, 1.5); }
TEST(float64_pow) { check_pow<double, long double>(&NumericsKernels::f64_pow, 4); }

// C99 annex F, written out: the reference above is a library's.
TEST(pow_special_cases) {
  const double inf = INFINITY, nan = NAN;
  const struct {
    double x, y, result;
  } cases[] = {
      {0, -1, inf},   {-0.0, -1, -inf},     {-0.0, -2, inf},    {-0.0, -1.5, inf},
      {0, -inf, inf}, {-0.0, -inf, inf},    {0, 3, 0},          {-0.0, 3, -0.0},
      {-0.0, 2, 0},   {-0.0, 0.5, 0},       {-1, inf, 1},       {-1, -inf, 1},
      {1, nan, 1},    {1, inf, 1},          {nan, 0, 1},        {nan, -0.0, 1},
      {0, 0, 1},      {inf, 0, 1},          {-8, 1.0 / 3, nan}, {-2, 3, -8},
      {-2, 2, 4},     {0.5, -inf, inf},     {2, -inf, 0},       {0.5, inf, 0},
      {2, inf, inf},  {-inf, -3, -0.0},     {-inf, -2, 0},      {-inf, 3, -inf},
      {-inf, 2, inf}, {-inf, 0.5, inf},     {-inf, -0.5, 0},    {inf, -1, 0},
      {inf, 1, inf},  {nan, 1, nan},        {2, nan, nan},      {-2, inf, inf},
      {-0.5, inf, 0}, {-2, 16777217, -inf}, {-1, 16777216, 1},
  };
  for (Target target : annx::supported_targets()) {
    const NumericsKernels& kernels = annx::numerics_kernels_for(target);
    for (const auto& c : cases) {
      double wide;
      kernels.f64_pow(&c.x, &c.y, &wide, 1);
      CHECK_MSG(same(wide, c.result) || (c.y == 16777217 && wide == -inf),
                annx::target_name(target) << " pow(" << c.x << ", " << c.y << ") = " << wide);
      // 16777217 is not a float32: it becomes even.
      const float x = static_cast<float>(c.x), y = static_cast<float>(c.y);
      float out;
      kernels.f32_pow(&x, &y, &out, 1);
      const float expected = c.y == 16777217 ? INFINITY : static_cast<float>(c.result);
      CHECK_MSG(same(out, expected), annx::target_name(target)
                                         << " powf(" << x << ", " << y << ") = " << out);
    }
  }
}

// Results must not depend on where an element stands in the array.
TEST(tails_and_offsets) {
  std::vector<float> x(100), whole(100), part(100);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) * 0.37f - 3;
  for (Target target : annx::supported_targets()) {
    const NumericsKernels& kernels = annx::numerics_kernels_for(target);
    for (const auto& function : annx::testing::kElementary32) {
      (kernels.*function.kernel)(x.data(), whole.data(), 100);
      for (int64_t n = 0; n <= 33; ++n) {
        std::fill(part.begin(), part.end(), -7.0f);
        (kernels.*function.kernel)(x.data() + 3, part.data() + 1, n);
        bool ok = part[0] == -7 && part[static_cast<size_t>(n) + 1] == -7;
        for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
          ok = ok && same(part[i + 1], whole[i + 3]);
        }
        CHECK_MSG(ok, annx::target_name(target) << " " << function.name << " n=" << n);
      }
    }
  }
}

// The vectors published with the Random123 library (kat_vectors, philox4x32 10).
TEST(philox_known_answers) {
  const struct {
    uint32_t counter[4], key[2], result[4];
  } vectors[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (Target target : annx::supported_targets()) {
    for (const auto& v : vectors) {
      int32_t counters[64], out[64];
      for (int i = 0; i < 64; ++i) counters[i] = static_cast<int32_t>(v.counter[i / 16]);
      annx::numerics_kernels_for(target).philox4x32(counters, v.key[0], v.key[1], out);
      for (int i = 0; i < 64; ++i) CHECK_EQ(static_cast<uint32_t>(out[i]), v.result[i / 16]);
    }
  }
}

// One block by the published algorithm, in plain integers.
void philox_reference(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]) {
  uint32_t c[4] = {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                   static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xd2511f53} * c[0], b = uint64_t{0xcd9e8d57} * c[2];
    const uint32_t next[4] = {
        static_cast<uint32_t>(b >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(b),
        static_cast<uint32_t>(a >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(a)};
    std::copy(next, next + 4, c);
    key[0] += 0x9e3779b9;
    key[1] += 0xbb67ae85;
  }
  std::copy(c, c + 4, out);
}

// The layout documented in philox-inl.h, also where the low word of the block number overflows.
TEST(random_layout) {
  const uint64_t seed = 0x0123456789abcdef, stream = 0xfedcba9876543210;
  for (int64_t first : {int64_t{0}, int64_t{4} * 0xfffffff0, int64_t{8} * 0xfffffff0}) {
    constexpr int64_t n = 400;
    std::vector<uint32_t> words(n);
    std::vector<float> uniform(n);
    std::vector<double> wide(n);
    for (Target target : annx::supported_targets()) {
      const NumericsKernels& kernels = annx::numerics_kernels_for(target);
      kernels.u32_random(seed, stream, first, words.data(), n);
      kernels.f32_uniform(seed, stream, first, uniform.data(), n);
      kernels.f64_uniform(seed, stream, first, wide.data(), n);
      for (int64_t i = 0; i < n; ++i) {
        const size_t j = static_cast<size_t>(i);
        const uint64_t element = static_cast<uint64_t>(first + i);
        uint32_t block[4];
        philox_reference(seed, stream, element / 4, block);
        const uint32_t word = block[element % 4];
        CHECK_EQ(words[j], word);
        CHECK_EQ(uniform[j], static_cast<float>(word >> 8) * 0x1p-24f);
        philox_reference(seed, stream, element / 2, block);
        const uint64_t pair =
            uint64_t{block[2 * (element % 2)]} << 32 | block[2 * (element % 2) + 1];
        CHECK_EQ(wide[j], static_cast<double>(pair >> 11) * 0x1p-53);
      }
    }
  }
}

// Any chunk of a stream is that part of the whole, on every target.
template <class T>
void check_chunks(void (*NumericsKernels::*fill)(uint64_t, uint64_t, int64_t, T*, int64_t)) {
  constexpr int64_t n = 1500;
  std::vector<T> whole(n), part(n);
  (annx::numerics_kernels_for(Target::scalar).*fill)(3, 4, 0, whole.data(), n);
  for (Target target : annx::supported_targets()) {
    for (int64_t chunk : {1, 3, 7, 64, 100, 129, 1500}) {
      for (int64_t begin = 0; begin < n; begin += chunk) {
        (annx::numerics_kernels_for(target).*fill)(3, 4, begin, part.data() + begin,
                                                   std::min(chunk, n - begin));
      }
      CHECK_MSG(std::memcmp(part.data(), whole.data(), n * sizeof(T)) == 0,
                annx::target_name(target) << " chunk " << chunk);
    }
  }
}

TEST(random_chunks) {
  check_chunks(&NumericsKernels::u32_random);
  check_chunks(&NumericsKernels::f32_uniform);
  check_chunks(&NumericsKernels::f32_normal);
  check_chunks(&NumericsKernels::f64_uniform);
  check_chunks(&NumericsKernels::f64_normal);
}

// Box and Muller by the formula, and the moments of what comes out.
template <class T>
void check_normal(void (*NumericsKernels::*normal)(uint64_t, uint64_t, int64_t, T*, int64_t)) {
  constexpr int64_t n = 1 << 20;
  std::vector<T> z(n);
  (annx::numerics_kernels().*normal)(11, 0, 0, z.data(), n);
  double sum = 0, square = 0, cube = 0, fourth = 0;
  int64_t beyond_two = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double v = static_cast<double>(z[static_cast<size_t>(i)]);
    sum += v, square += v * v, cube += v * v * v, fourth += v * v * v * v;
    beyond_two += std::fabs(v) > 2 ? 1 : 0;
  }
  // Five standard deviations of each estimate.
  const double root = std::sqrt(static_cast<double>(n));
  CHECK(std::fabs(sum / n) < 5 / root);
  CHECK(std::fabs(square / n - 1) < 5 * std::sqrt(2.0) / root);
  CHECK(std::fabs(cube / n) < 5 * std::sqrt(15.0) / root);
  CHECK(std::fabs(fourth / n - 3) < 5 * std::sqrt(96.0) / root);
  CHECK(std::fabs(static_cast<double>(beyond_two) / n - 0.0455003) < 5 * 0.21 / root);
}

TEST(normal_numbers) {
  check_normal(&NumericsKernels::f32_normal);
  check_normal(&NumericsKernels::f64_normal);
  constexpr int64_t n = 4096;
  std::vector<uint32_t> words(n);
  std::vector<float> z(n);
  std::vector<double> u(n), wide(n);
  const NumericsKernels& kernels = annx::numerics_kernels();
  kernels.u32_random(5, 6, 0, words.data(), n);
  kernels.f32_normal(5, 6, 0, z.data(), n);
  kernels.f64_uniform(5, 6, 0, u.data(), n);
  kernels.f64_normal(5, 6, 0, wide.data(), n);
  constexpr double two_pi = 6.283185307179586;
  for (size_t i = 0; i < n; i += 2) {
    const double radius = std::sqrt(-2 * std::log(((words[i] >> 1) + 0.5) * 0x1p-31));
    const double angle = two_pi * (words[i + 1] >> 8) * 0x1p-24;
    CHECK(std::fabs(z[i] - radius * std::cos(angle)) < 4e-6);
    CHECK(std::fabs(z[i + 1] - radius * std::sin(angle)) < 4e-6);
    const double wide_radius = std::sqrt(-2 * std::log1p(-u[i]));
    CHECK(std::fabs(wide[i] - wide_radius * std::cos(two_pi * u[i + 1])) < 1e-14);
    CHECK(std::fabs(wide[i + 1] - wide_radius * std::sin(two_pi * u[i + 1])) < 1e-14);
  }
}

}  // namespace

ANNX_TEST_MAIN()
