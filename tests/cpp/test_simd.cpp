// Every function of the simd API on every target against a plain loop: all sizes up to two vectors
// and one element, three misalignments, and guard elements around the output.
#include <cfloat>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "check.h"
#include "simd_ops/kernels.h"

namespace {

using annx::Target;
using annx::testing::same;

template <class T>
bool same(T a, T b) {
  return a == b;
}

constexpr int kGuard = 24;

template <class T>
T guard_value(int i) {
  return static_cast<T>(101 + i % 13);
}

// Special values first, then random bits and random values of ordinary size.
template <class T, class Bits>
std::vector<T> float_inputs(uint64_t seed) {
  const T inf = std::numeric_limits<T>::infinity();
  std::vector<T> values = {T(0),
                           -T(0),
                           inf,
                           -inf,
                           std::numeric_limits<T>::quiet_NaN(),
                           T(0.5),
                           T(-0.5),
                           T(1.5),
                           T(-1.5),
                           T(2.5),
                           T(-2.5),
                           T(0.49999997),
                           T(1),
                           T(-1),
                           std::numeric_limits<T>::max(),
                           -std::numeric_limits<T>::max(),
                           std::numeric_limits<T>::min(),
                           std::numeric_limits<T>::denorm_min(),
                           T(8388607.5),
                           T(4503599627370495.5),
                           T(2147483648.0),
                           T(-2147483648.0),
                           T(1e19)};
  std::mt19937_64 random(seed);
  while (values.size() < 2000) {
    const Bits bits = static_cast<Bits>(random());
    T value;
    std::memcpy(&value, &bits, sizeof(value));
    values.push_back(value);
    values.push_back(static_cast<T>(static_cast<int64_t>(random() % 20001) - 10000) / T(64));
    values.push_back(values[random() % values.size()]);
  }
  // The order differs between operands, so that special values meet.
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random() % i]);
  return values;
}

template <class I>
std::vector<I> int_inputs(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<I> values = {0, 1, -1, std::numeric_limits<I>::max(), std::numeric_limits<I>::min()};
  while (values.size() < 2000) {
    values.push_back(static_cast<I>(random()));
    values.push_back(static_cast<I>(random() % 7) - 3);
  }
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random() % i]);
  return values;
}

std::vector<uint8_t> bool_inputs(uint64_t seed) {
  std::mt19937_64 random(seed);
  const uint8_t choices[] = {0, 0, 0, 1, 1, 255, 128};
  std::vector<uint8_t> values(2000);
  for (uint8_t& value : values) value = choices[random() % 7];
  return values;
}

// Calls run(offset, out, n) for every size and misalignment, plus one long call; compares out with
// want(i), i counted from the start of the inputs, and checks the guards.
template <class Out, class Run, class Want>
void sweep(const char* target, const char* name, int lanes, Run run, Want want) {
  for (int offset = 0; offset < 3; ++offset) {
    for (int case_n = 0; case_n <= 2 * lanes + 2; ++case_n) {
      const int n = case_n == 2 * lanes + 2 ? 1990 : case_n;
      std::vector<Out> memory(static_cast<size_t>(n + 2 * kGuard + offset));
      for (size_t i = 0; i < memory.size(); ++i) memory[i] = guard_value<Out>(static_cast<int>(i));
      Out* out = memory.data() + kGuard + offset;
      run(offset, out, n);
      for (int i = 0; i < n; ++i) {
        const Out expected = want(offset + i, i);
        CHECK_MSG(same(out[i], expected), target << " " << name << " n=" << n
                                                 << " offset=" << offset << " i=" << i << " got "
                                                 << +out[i] << " expected " << +expected);
      }
      for (size_t i = 0; i < memory.size(); ++i) {
        const bool inside = memory.data() + i >= out && memory.data() + i < out + n;
        CHECK_MSG(inside || same(memory[i], guard_value<Out>(static_cast<int>(i))),
                  target << " " << name << " wrote outside: n=" << n << " at " << i);
      }
    }
  }
}

template <class I>
struct Unsigned;
template <>
struct Unsigned<int32_t> {
  using type = uint32_t;
};
template <>
struct Unsigned<int64_t> {
  using type = uint64_t;
};

template <class T, class I>
void test_floats(const char* target, const annx::SimdOpsOf<T, I>& ops, int lanes) {
  using U = typename Unsigned<I>::type;
  const std::vector<T> a = float_inputs<T, U>(1), b = float_inputs<T, U>(2),
                       c = float_inputs<T, U>(3);
  const std::vector<uint8_t> m = bool_inputs(4);

#define UNARY(name, expression)                                                \
  sweep<T>(                                                                    \
      target, #name, lanes,                                                    \
      [&](int offset, T* out, int n) { ops.name(a.data() + offset, out, n); }, \
      [&](int i, int) -> T {                                                   \
        const T x = a[static_cast<size_t>(i)];                                 \
        return expression;                                                     \
      })
  UNARY(neg, -x);
  UNARY(abs, std::fabs(x));
  UNARY(sqrt, std::sqrt(x));
  UNARY(rint, std::nearbyint(x));
  UNARY(floor, std::floor(x));
  UNARY(ceil, std::ceil(x));
  UNARY(trunc, std::trunc(x));
  UNARY(cast, x);
#undef UNARY

#define BINARY(Out, name, expression)                                         \
  sweep<Out>(                                                                 \
      target, #name, lanes,                                                   \
      [&](int offset, Out* out, int n) {                                      \
        ops.name(a.data() + offset, b.data() + offset, out, n);               \
      },                                                                      \
      [&](int i, int) -> Out {                                                \
        const T x = a[static_cast<size_t>(i)], y = b[static_cast<size_t>(i)]; \
        return static_cast<Out>(expression);                                  \
      })
  BINARY(T, add, x + y);
  BINARY(T, sub, x - y);
  BINARY(T, mul, x * y);
  BINARY(T, div, x / y);
  BINARY(T, min, x < y ? x : y);
  BINARY(T, max, x > y ? x : y);
  BINARY(T, copysign, std::copysign(x, y));
  BINARY(uint8_t, lt, x < y);
  BINARY(uint8_t, le, x <= y);
  BINARY(uint8_t, gt, x > y);
  BINARY(uint8_t, ge, x >= y);
  BINARY(uint8_t, eq, x == y);
  BINARY(uint8_t, ne, x != y);
  BINARY(uint8_t, is_nan, std::isnan(x) || std::isnan(y));
#undef BINARY

#define TERNARY(name, expression)                                                  \
  sweep<T>(                                                                        \
      target, #name, lanes,                                                        \
      [&](int offset, T* out, int n) {                                             \
        ops.name(a.data() + offset, b.data() + offset, c.data() + offset, out, n); \
      },                                                                           \
      [&](int i, int) -> T {                                                       \
        const size_t j = static_cast<size_t>(i);                                   \
        return expression;                                                         \
      })
  TERNARY(fma, std::fma(a[j], b[j], c[j]));
  TERNARY(fnma, std::fma(-a[j], b[j], c[j]));
#undef TERNARY

  sweep<T>(
      target, "select", lanes,
      [&](int offset, T* out, int n) {
        ops.select(m.data() + offset, a.data() + offset, b.data() + offset, out, n);
      },
      [&](int i, int) {
        const size_t j = static_cast<size_t>(i);
        return m[j] != 0 ? a[j] : b[j];
      });
  sweep<T>(
      target, "fill", lanes, [&](int, T* out, int n) { ops.fill(T(5), out, n); },
      [&](int, int i) { return static_cast<T>(5 + i % lanes); });
  sweep<I>(
      target, "int_fill", lanes, [&](int, I* out, int n) { ops.int_fill(I(5), out, n); },
      [&](int, int i) { return static_cast<I>(5 + i % lanes); });

  for (size_t first = 0; first + 16 < a.size(); ++first) {
    T out[3], sum[16], high[16], low[16];
    ops.horizontal(a.data() + first, out);
    for (size_t i = 0; i < static_cast<size_t>(lanes); ++i)
      sum[i] = high[i] = low[i] = a[first + i];
    for (int half = lanes / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) {
        sum[i] = sum[i] + sum[i + half];
        high[i] = high[i] > high[i + half] ? high[i] : high[i + half];
        low[i] = low[i] < low[i + half] ? low[i] : low[i + half];
      }
    }
    CHECK_MSG(same(out[0], sum[0]), target << " hsum " << out[0] << " " << sum[0]);
    CHECK_MSG(same(out[1], high[0]), target << " hmax " << out[1] << " " << high[0]);
    CHECK_MSG(same(out[2], low[0]), target << " hmin " << out[2] << " " << low[0]);
  }
}

template <class I>
void test_ints(const char* target, const auto& ops, int lanes) {
  using U = typename Unsigned<I>::type;
  const std::vector<I> a = int_inputs<I>(5), b = int_inputs<I>(6);
#define INT(name, expression)                                                                     \
  sweep<I>(                                                                                       \
      target, #name, lanes,                                                                       \
      [&](int offset, I* out, int n) { ops.name(a.data() + offset, b.data() + offset, out, n); }, \
      [&](int i, int) -> I {                                                                      \
        const I sx = a[static_cast<size_t>(i)], sy = b[static_cast<size_t>(i)];                   \
        const U x = static_cast<U>(sx), y = static_cast<U>(sy);                                   \
        (void)sx, (void)sy, (void)x, (void)y;                                                     \
        return static_cast<I>(expression);                                                        \
      })
  INT(iadd, x + y);
  INT(isub, x - y);
  INT(iand, x & y);
  INT(ior, x | y);
  INT(ixor, x ^ y);
  INT(ishl, (x << 3) ^ (y << 13));
  INT(ishr, x >> 5);
  INT(isar, sx >> 5);
  INT(ieq, sx == sy ? sx : 0);
  INT(ilt, sx < sy ? sx : sy);
  INT(igt, sx > sy ? sx : sy);
#undef INT
}

void test_masks(const char* target, const auto& ops, int lanes) {
  const std::vector<uint8_t> a = bool_inputs(7), b = bool_inputs(8);
#define MASK(name, expression)                                                             \
  sweep<uint8_t>(                                                                          \
      target, #name, lanes,                                                                \
      [&](int offset, uint8_t* out, int n) {                                               \
        ops.name(a.data() + offset, b.data() + offset, out, n);                            \
      },                                                                                   \
      [&](int i, int) -> uint8_t {                                                         \
        const bool x = a[static_cast<size_t>(i)] != 0, y = b[static_cast<size_t>(i)] != 0; \
        (void)y;                                                                           \
        return expression;                                                                 \
      })
  MASK(mand, x && y);
  MASK(mor, x || y);
  MASK(mxor, x != y);
  MASK(mnot, !x);
#undef MASK

  for (int set = 0; set <= lanes; ++set) {
    for (int first = 0; first < lanes; ++first) {
      uint8_t bytes[16] = {};
      for (int i = 0; i < set; ++i) bytes[(first + i) % lanes] = 1;
      CHECK_EQ(ops.any_all(bytes), (set > 0 ? 1 : 0) + (set == lanes ? 2 : 0));
    }
  }
}

// to_int and to_float between 64-bit lanes hold up to 2^51; float to int32 saturates to INT32_MIN.
void test_conversions(const char* target, const annx::SimdOps& ops) {
  const std::vector<float> f = float_inputs<float, uint32_t>(9);
  const std::vector<double> d = float_inputs<double, uint64_t>(10);
  const std::vector<int32_t> i32 = int_inputs<int32_t>(11), j32 = int_inputs<int32_t>(12);
  std::vector<int64_t> i64 = int_inputs<int64_t>(13);
  for (int64_t& value : i64) value >>= 13;
  std::vector<double> whole(i64.begin(), i64.end());
  const auto at = [](const auto& values, int i) { return values[static_cast<size_t>(i)]; };

  sweep<int32_t>(
      target, "to_int32", 16,
      [&](int offset, int32_t* out, int n) { ops.f32.to_int(f.data() + offset, out, n); },
      [&](int i, int) -> int32_t {
        const float x = at(f, i);
        return x >= -0x1p31f && x < 0x1p31f ? static_cast<int32_t>(x) : INT32_MIN;
      });
  sweep<float>(
      target, "to_float32", 16,
      [&](int offset, float* out, int n) { ops.f32.to_float(i32.data() + offset, out, n); },
      [&](int i, int) { return static_cast<float>(at(i32, i)); });
  sweep<int64_t>(
      target, "to_int64", 8,
      [&](int offset, int64_t* out, int n) { ops.f64.to_int(whole.data() + offset, out, n); },
      [&](int i, int) { return at(i64, i); });
  sweep<double>(
      target, "to_float64", 8,
      [&](int offset, double* out, int n) { ops.f64.to_float(i64.data() + offset, out, n); },
      [&](int i, int) { return at(whole, i); });
  sweep<double>(
      target, "widen", 8,
      [&](int offset, double* out, int n) { ops.widen(f.data() + offset, out, n); },
      [&](int i, int) { return static_cast<double>(at(f, i)); });
  sweep<float>(
      target, "narrow", 8,
      [&](int offset, float* out, int n) { ops.narrow(d.data() + offset, out, n); },
      [&](int i, int) { return static_cast<float>(at(d, i)); });

  std::vector<int32_t> other(4096);
  sweep<int32_t>(
      target, "mul_low", 16,
      [&](int offset, int32_t* out, int n) {
        ops.mul_u32(i32.data() + offset, j32.data() + offset, out, other.data(), n);
      },
      [&](int i, int) {
        return static_cast<int32_t>(static_cast<uint32_t>(at(i32, i)) *
                                    static_cast<uint32_t>(at(j32, i)));
      });
  sweep<int32_t>(
      target, "mul_high", 16,
      [&](int offset, int32_t* out, int n) {
        ops.mul_u32(i32.data() + offset, j32.data() + offset, other.data(), out, n);
      },
      [&](int i, int) {
        return static_cast<int32_t>(
            uint64_t{static_cast<uint32_t>(at(i32, i))} * static_cast<uint32_t>(at(j32, i)) >> 32);
      });

  float lanes4[64], interleaved[64];
  for (int i = 0; i < 64; ++i) lanes4[i] = static_cast<float>(i);
  ops.interleave4(lanes4, interleaved);
  for (int i = 0; i < 64; ++i) CHECK_EQ(interleaved[i], static_cast<float>((i % 4) * 16 + i / 4));
}

// Value of bfloat16 or half bits, written down from the definition of the format.
double small_float_value(uint16_t bits, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

void test_16_bit(const char* target, const annx::SimdOps& ops) {
  std::vector<uint16_t> all(65536 + 8);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  const struct {
    const char* name;
    int exponent_bits;
    void (*load)(const uint16_t*, float*, int64_t);
    void (*store)(const float*, uint16_t*, int64_t);
  } formats[] = {{"bf16", 8, ops.load_bf16, ops.store_bf16},
                 {"f16", 5, ops.load_f16, ops.store_f16}};
  for (const auto& format : formats) {
    // Every 16-bit pattern has the value the format defines, and comes back as it was.
    std::vector<float> values(65536);
    std::vector<uint16_t> back(65536);
    format.load(all.data(), values.data(), 65536);
    format.store(values.data(), back.data(), 65536);
    for (int i = 0; i < 65536; ++i) {
      const size_t j = static_cast<size_t>(i);
      const double expected = small_float_value(static_cast<uint16_t>(i), format.exponent_bits);
      CHECK_MSG(same(static_cast<double>(values[j]), expected), target << format.name << i);
      const bool nan = std::isnan(expected);
      CHECK_MSG(nan ? std::isnan(small_float_value(back[j], format.exponent_bits)) : back[j] == i,
                target << " " << format.name << " " << i << " came back as " << back[j]);
    }
    // Rounding: midpoints go to the even neighbour, the floats next to them to the nearer one.
    const int largest = ((1 << format.exponent_bits) - 1) << (15 - format.exponent_bits);
    std::vector<float> inputs;
    std::vector<uint16_t> outputs;
    for (int i = 0; i < largest; ++i) {
      const double low = small_float_value(static_cast<uint16_t>(i), format.exponent_bits);
      // The step above the largest finite value is as wide as the one below it.
      const double high =
          i + 1 < largest
              ? small_float_value(static_cast<uint16_t>(i + 1), format.exponent_bits)
              : 2 * low - small_float_value(static_cast<uint16_t>(i - 1), format.exponent_bits);
      const float middle = static_cast<float>((low + high) / 2);
      const uint16_t down = static_cast<uint16_t>(i), up = static_cast<uint16_t>(i + 1);
      inputs.push_back(middle), outputs.push_back(i % 2 == 0 ? down : up);
      inputs.push_back(std::nextafter(middle, 0.0f)), outputs.push_back(down);
      inputs.push_back(std::nextafter(middle, INFINITY)), outputs.push_back(up);
    }
    const size_t count = inputs.size();
    for (size_t i = 0; i < count; ++i) {
      inputs.push_back(-inputs[i]);
      outputs.push_back(static_cast<uint16_t>(outputs[i] | 0x8000));
    }
    inputs.push_back(FLT_MAX), outputs.push_back(static_cast<uint16_t>(largest));
    std::vector<uint16_t> rounded(inputs.size());
    format.store(inputs.data(), rounded.data(), static_cast<int64_t>(inputs.size()));
    for (size_t i = 0; i < inputs.size(); ++i) {
      CHECK_MSG(rounded[i] == outputs[i], target << " " << format.name << " " << inputs[i] << " to "
                                                 << rounded[i] << " expected " << outputs[i]);
    }
    sweep<float>(
        target, "load 16 bits", 16,
        [&](int offset, float* out, int n) { format.load(all.data() + offset, out, n); },
        [&](int i, int) {
          return static_cast<float>(
              small_float_value(static_cast<uint16_t>(i), format.exponent_bits));
        });
    sweep<uint16_t>(
        target, "store 16 bits", 16,
        [&](int offset, uint16_t* out, int n) { format.store(inputs.data() + offset, out, n); },
        [&](int i, int) { return outputs[static_cast<size_t>(i)]; });
  }
  sweep<uint16_t>(
      target, "copy 16 bits", 16,
      [&](int offset, uint16_t* out, int n) { ops.copy_u16(all.data() + offset, out, n); },
      [&](int i, int) { return static_cast<uint16_t>(i); });
}

void for_each_target(void (*body)(const char*, const annx::SimdOps&)) {
  for (Target target : annx::supported_targets()) {
    body(annx::target_name(target), annx::simd_ops_for(target));
  }
}

TEST(floats) {
  for_each_target([](const char* target, const annx::SimdOps& ops) {
    test_floats(target, ops.f32, 16);
    test_floats(target, ops.f64, 8);
  });
}

TEST(ints) {
  for_each_target([](const char* target, const annx::SimdOps& ops) {
    test_ints<int32_t>(target, ops.f32, 16);
    test_ints<int64_t>(target, ops.f64, 8);
  });
}

TEST(masks) {
  for_each_target([](const char* target, const annx::SimdOps& ops) {
    test_masks(target, ops.f32, 16);
    test_masks(target, ops.f64, 8);
  });
}

TEST(conversions) { for_each_target(test_conversions); }

TEST(bf16_and_f16) { for_each_target(test_16_bit); }

}  // namespace

ANNX_TEST_MAIN()
