// The device code of elementwise ops, compiled for the CPU: the one-lane vectors, the formulas over
// them and what a thread of a kernel does, against the scalar target and the ops. Bits must be equal;
// on a device only the compiler differs, and there every operation is an explicit, rounded one.
#include <cmath>
#include <random>

#include "check.h"
#include "cuda/layout.h"
#include "ops/activation/kernels.h"
#include "ops/arithmetic/kernels.h"
#include "ops/cast/convert.h"
#include "ops/elementwise/driver.h"
#include "ops/elementwise/int_lane.h"
#include "ops/functional.h"
#include "ops/unary/kernels.h"

#define ANNX_TARGET cuda_lane
#define ANNX_TARGET_CUDA 1
#include "dispatch/begin.h"
// The headers above need their order, and each file of rows its name.
// clang-format off
#include "ops/elementwise/cuda_thread-inl.h"
#include "ops/cast/cuda_cast-inl.h"
#define ANNX_ROWS "ops/unary/rows.def"
#include "ops/elementwise/cuda_unary-inl.h"
#undef ANNX_ROWS
#define ANNX_ROWS "ops/activation/rows.def"
#include "ops/elementwise/cuda_unary-inl.h"
#undef ANNX_ROWS
#define ANNX_ROWS "ops/arithmetic/rows.def"
#include "ops/elementwise/cuda_binary-inl.h"
#undef ANNX_ROWS
// clang-format on
#include "dispatch/end.h"

namespace {

using namespace annx;
using annx::testing::same;
namespace lane = annx::cuda_lane;

constexpr uint32_t kThreads = 32;

// A row as plain values, so that little is compiled per row.
struct RowInfo {
  void (*thread)(const cuda::Launch&, uint32_t block, uint32_t thread, uint32_t threads);
  int inputs, width, out_size, in_size[3];
};

template <class Row>
RowInfo info() {
  RowInfo r{lane::elementwise_thread<Row>, Row::inputs, Row::width, sizeof(typename Row::Out), {}};
  r.in_size[0] = sizeof(typename Row::In0);
  if constexpr (Row::inputs > 1) r.in_size[1] = sizeof(typename Row::In1);
  if constexpr (Row::inputs > 2) r.in_size[2] = sizeof(typename Row::In2);
  return r;
}

// Runs every thread of every launch of a call.
void emulate(const RowInfo& row, const AnnxCudaElementwise& call,
             int64_t limit = cuda::kMaxLaunch) {
  cuda::each_launch(
      call, row.in_size, row.out_size, row.width,
      [&](const cuda::Launch& l) {
        const uint32_t per_block = kThreads * static_cast<uint32_t>(row.width);
        for (uint32_t b = 0; b < (l.count + per_block - 1) / per_block; ++b)
          for (uint32_t t = 0; t < kThreads; ++t) row.thread(l, b, t, kThreads);
      },
      limit);
}

// The call as ops/device.cpp makes it, over CPU memory.
AnnxCudaElementwise call_of(const TensorList& inputs, const Tensor& out, const double* params) {
  AnnxCudaElementwise call{};
  call.inputs = inputs.size();
  call.dims = out.dim();
  for (int d = 0; d < out.dim(); ++d) {
    call.shape[d] = out.size(d);
    call.out_strides[d] = out.stride(d);
  }
  for (int i = 0; i < inputs.size(); ++i) {
    const Tensor& t = inputs[i];
    if (t.dim() == 0) {
      std::memcpy(&call.in[i].constant, t.raw(), itemsize(t.dtype()));
      continue;
    }
    call.in[i].data = t.raw();
    const Dims strides = broadcast_strides(t, out.shape());
    for (int d = 0; d < out.dim(); ++d) call.in[i].strides[d] = strides[d];
  }
  call.out = out.raw();
  for (int i = 0; i < 4 && params; ++i) call.params[i] = params[i];
  return call;
}

Tensor poisoned(const Dims& shape, DType dtype) {
  Tensor t = Tensor::empty(shape, dtype);
  std::memset(t.raw(), 0xcd, t.nbytes());
  return t;
}

void check_same(const Tensor& got, const Tensor& computed, const std::string& name) {
  // The op may have kept the layout of an input.
  const Tensor expected = ops::contiguous(computed);
  CHECK_EQ(got.dtype(), expected.dtype());
  for (int64_t i = 0; i < got.numel(); ++i) {
    bool equal;
    if (got.dtype() == DType::f32)
      equal = same(got.data<float>()[i], expected.data<float>()[i]);
    else if (got.dtype() == DType::f64)
      equal = same(got.data<double>()[i], expected.data<double>()[i]);
    else
      equal = load_scalar_i64(got.raw(), got.dtype()) ==
                  load_scalar_i64(expected.raw(), expected.dtype()) &&
              std::memcmp(got.data<char>() + i * static_cast<int64_t>(itemsize(got.dtype())),
                          expected.data<char>() + i * static_cast<int64_t>(itemsize(got.dtype())),
                          itemsize(got.dtype())) == 0;
    CHECK_MSG(equal, name << " differs at element " << i << " of " << got.shape());
    if (!equal) return;
  }
}

// Special values, then random bits, then ordinary numbers.
template <class T>
void fill_inputs(T* p, int64_t n, uint64_t seed) {
  using L = std::numeric_limits<T>;
  const T special[] = {T(0),
                       -T(0),
                       L::infinity(),
                       -L::infinity(),
                       L::quiet_NaN(),
                       L::max(),
                       L::lowest(),
                       L::min(),
                       -L::min(),
                       L::denorm_min(),
                       -L::denorm_min(),
                       T(0.5),
                       T(-0.5),
                       T(1.5),
                       T(-2.5),
                       T(1),
                       T(-1),
                       T(3),
                       T(-3),
                       T(6),
                       T(88.7),
                       T(-87.4),
                       T(1e5),
                       T(-3e9)};
  constexpr int64_t specials = sizeof(special) / sizeof(special[0]);
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, 4);
  for (int64_t i = 0; i < n; ++i) {
    if (i < specials * specials) {
      p[i] = special[seed % 2 ? i % specials : i / specials];
    } else if (i % 3 == 0) {
      const uint64_t bits = random();
      std::memcpy(p + i, &bits, sizeof(T));
    } else {
      p[i] = static_cast<T>(normal(random));
    }
  }
}

template <class T>
Tensor random_tensor(const Dims& shape, uint64_t seed) {
  Tensor t = Tensor::empty(shape, DTypeOf<T>::value);
  if constexpr (std::is_floating_point_v<T>) {
    fill_inputs(t.data<T>(), t.numel(), seed);
  } else {
    std::mt19937_64 random(seed);
    for (int64_t i = 0; i < t.numel(); ++i)
      t.data<T>()[i] = static_cast<T>(std::is_same_v<T, bool> ? random() % 2
                                      : i % 4                 ? random() % 11 - 5
                                                              : random());
  }
  return t;
}

// Enough that packs and tails and every special pair are among them.
template <class T>
constexpr int64_t kPoints = sizeof(T) == 4 ? 100003 : 30003;

void check_row(const char* name, const RowInfo& row, DType dtype, DType result,
               ElementwiseFn reference, const double* params) {
  const int64_t n = dtype == DType::f32 ? kPoints<float> : kPoints<double>;
  TensorList inputs;
  const void* pointers[3] = {};
  for (int i = 0; i < row.inputs; ++i) {
    const auto seed = static_cast<uint64_t>(i) + 7;
    inputs.push_back(dtype == DType::f32 ? random_tensor<float>({n}, seed)
                                         : random_tensor<double>({n}, seed));
    pointers[i] = inputs[i].raw();
  }
  const Tensor got = poisoned({n}, result), expected = poisoned({n}, result);
  reference(pointers, expected.raw(), n, params);
  emulate(row, call_of(inputs, got, params));
  check_same(got, expected, name);
}

template <class F, class B>
void check_unary(const char* name, const OpDef& op, const UnaryKernel& k) {
  double params[4] = {};
  int next = 0;
  for (const Param& p : parse_signature(op).params)
    if (p.type != Param::Type::tensor) params[next++] = p.default_value.f();
  using lane::F32, lane::F64, lane::FormulaRow;
  constexpr DType f32 = DType::f32, f64 = DType::f64;
  check_row(name, info<FormulaRow<F32, F, 1>>(), f32, f32, k.f32, params);
  check_row(name, info<FormulaRow<F64, F, 1>>(), f64, f64, k.f64, params);
  check_row(name, info<FormulaRow<F32, B, B::inputs>>(), f32, f32, k.backward_f32, params);
  check_row(name, info<FormulaRow<F64, B, B::inputs>>(), f64, f64, k.backward_f64, params);
}

}  // namespace

TEST(elementary_functions_give_the_bits_of_the_scalar_target) {
  const UnaryKernels& k = unary_kernels_for(Target::scalar);
#define ANNX_UNARY(name, ...) \
  check_unary<lane::Forward_##name, lane::Backward_##name>(#name, def::name, k.name);
#include "ops/unary/rows.def"
#undef ANNX_UNARY
}

TEST(activations_give_the_bits_of_the_scalar_target) {
  const ActivationKernels& k = activation_kernels_for(Target::scalar);
#define ANNX_UNARY(name, ...) \
  check_unary<lane::Forward_##name, lane::Backward_##name>(#name, def::name, k.name);
#include "ops/activation/rows.def"
#undef ANNX_UNARY
}

TEST(arithmetic_gives_the_bits_of_the_scalar_target) {
  const ArithmeticKernels& k = arithmetic_kernels_for(Target::scalar);
  using lane::F32, lane::F64, lane::FormulaRow, lane::CompareRow;
  constexpr DType f32 = DType::f32, f64 = DType::f64, b8 = DType::b8;
#define ANNX_BINARY(name, ...)                                                            \
  check_row(#name, info<FormulaRow<F32, lane::Binary_##name, 2>>(), f32, f32, k.name.f32, \
            nullptr);                                                                     \
  check_row(#name, info<FormulaRow<F64, lane::Binary_##name, 2>>(), f64, f64, k.name.f64, nullptr);
#define ANNX_COMPARE(name, ...)                                                                  \
  check_row(#name, info<CompareRow<F32, lane::Compare_##name>>(), f32, b8, k.name.f32, nullptr); \
  check_row(#name, info<CompareRow<F64, lane::Compare_##name>>(), f64, b8, k.name.f64, nullptr);
#include "ops/arithmetic/rows.def"
#undef ANNX_BINARY
#undef ANNX_COMPARE
}

namespace {

Tensor random_integers(const Dims& shape, DType dtype, uint64_t seed) {
  return dtype == DType::i64   ? random_tensor<int64_t>(shape, seed)
         : dtype == DType::i32 ? random_tensor<int32_t>(shape, seed)
         : dtype == DType::u8  ? random_tensor<uint8_t>(shape, seed)
                               : random_tensor<bool>(shape, seed);
}

void check_integers(const char* name, const OpDef& op, DType dtype, const RowInfo& row) {
  Attrs attrs;
  double params[4] = {};
  for (const Param& p : parse_signature(op).params)
    if (p.type != Param::Type::tensor) {
      params[attrs.size()] = p.default_value.f();
      attrs.push_back(p.default_value);
    }
  TensorList inputs;
  for (int i = 0; i < row.inputs; ++i)
    inputs.push_back(random_integers({17, 59}, dtype, static_cast<uint64_t>(i) + 3));
  const Tensor expected = annx::call_all(op, inputs, attrs)[0];
  const Tensor got = poisoned(expected.shape(), expected.dtype());
  emulate(row, call_of(inputs, got, params));
  check_same(got, expected, name);
}

}  // namespace

TEST(integers_give_the_results_of_the_ops) {
#define ANNX_EACH_INT(name, Row)                                            \
  check_integers(#name, def::name, DType::i64, info<Row(int64_t, name)>()); \
  check_integers(#name, def::name, DType::i32, info<Row(int32_t, name)>()); \
  check_integers(#name, def::name, DType::u8, info<Row(uint8_t, name)>());  \
  check_integers(#name, def::name, DType::b8, info<Row(Bool8, name)>());
#define ANNX_FORWARD_ROW(T, name) lane::FormulaRow<IntLane<T>, lane::Forward_##name, 1>
#define ANNX_BINARY_ROW(T, name) lane::FormulaRow<IntLane<T>, lane::Binary_##name, 2>
#define ANNX_COMPARE_ROW(T, name) lane::CompareRow<IntLane<T>, lane::Compare_##name>
#define ANNX_INTS_Real(name, Row)
#define ANNX_INTS_Number(name, Row) ANNX_EACH_INT(name, Row)
#define ANNX_UNARY(name, Domain, ...) ANNX_INTS_##Domain(name, ANNX_FORWARD_ROW)
#define ANNX_BINARY(name, Domain, ...) ANNX_INTS_##Domain(name, ANNX_BINARY_ROW)
#define ANNX_COMPARE(name, ...) ANNX_EACH_INT(name, ANNX_COMPARE_ROW)
#include "ops/activation/rows.def"
#include "ops/arithmetic/rows.def"
#include "ops/unary/rows.def"
#undef ANNX_UNARY
#undef ANNX_BINARY
#undef ANNX_COMPARE
}

namespace {

template <class From, class To>
void check_cast(const Tensor& floats, DType from, DType to) {
  const Tensor x = ops::cast(floats, from);
  const Tensor expected = annx::call(def::cast, {x}, {Attr(to)});
  const Tensor got = poisoned(x.shape(), to);
  emulate(info<lane::CastRow<From, To>>(), call_of({x}, got, nullptr));
  // NaN has many bits: as numbers of a type that keeps them apart from all others.
  const std::string label = std::string(name(from)) + " to " + name(to);
  if (is_half(to))
    check_same(ops::cast(got, DType::f32), ops::cast(expected, DType::f32), label);
  else
    check_same(got, expected, label);
}

template <class From>
void check_casts(const Tensor& floats, DType from) {
  check_cast<From, float>(floats, from, DType::f32);
  check_cast<From, double>(floats, from, DType::f64);
  check_cast<From, lane::HalfBits>(floats, from, DType::f16);
  check_cast<From, lane::BrainBits>(floats, from, DType::bf16);
  check_cast<From, int64_t>(floats, from, DType::i64);
  check_cast<From, int32_t>(floats, from, DType::i32);
  check_cast<From, uint8_t>(floats, from, DType::u8);
  check_cast<From, Bool8>(floats, from, DType::b8);
}

}  // namespace

TEST(casts_give_the_results_of_the_op) {
  const Tensor floats = random_tensor<double>({20011}, 5);
  check_casts<float>(floats, DType::f32);
  check_casts<double>(floats, DType::f64);
  check_casts<lane::HalfBits>(floats, DType::f16);
  check_casts<lane::BrainBits>(floats, DType::bf16);
  check_casts<int64_t>(floats, DType::i64);
  check_casts<int32_t>(floats, DType::i32);
  check_casts<uint8_t>(floats, DType::u8);
  check_casts<Bool8>(floats, DType::b8);
}

TEST(every_half_becomes_the_same_float) {
  for (int bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<uint16_t>(bits);
    CHECK_MSG(same(lane::load_f16(&h).v, f16_to_f32(h)), "half " << bits);
    CHECK_MSG(same(lane::load_bf16(&h).v, bf16_to_f32(h)), "bfloat16 " << bits);
  }
}

// Broadcast, transposed, sliced and reversed operands, against the op; small launches, so that calls
// are cut up; misaligned vectors.
TEST(strided_operands_give_the_results_of_the_ops) {
  const Tensor a = random_tensor<float>({6, 5, 8}, 1), b = random_tensor<float>({8, 5, 6}, 2);
  const Tensor row = random_tensor<float>({8}, 3), column = random_tensor<float>({5, 1}, 4);
  const Tensor line = random_tensor<float>({4096}, 5);
  const Tensor reversed = ops::slice(a, 0, INT64_MAX, INT64_MIN, -1);
  const TensorList pairs[] = {
      {a, row},
      {column, a},
      {a, ops::permute(b, {2, 1, 0})},
      {ops::permute(b, {2, 1, 0}), column},
      {reversed, row},
      {ops::slice(a, 2, 0, 8, 2), ops::slice(column, 0, 0, 5)},
      {a, Tensor::scalar(2.5f)},
      {ops::slice(line, 0, 1, 4094), ops::slice(line, 0, 0, 4093)},
      {ops::slice(line, 0, 4, 4095), ops::slice(line, 0, 0, 4091)},
      {row, row},
      {ops::slice(row, 0, 0, 1), ops::slice(row, 0, 3, 4)},
  };
  const RowInfo sub = info<lane::FormulaRow<lane::F32, lane::Binary_sub, 2>>();
  for (const TensorList& pair : pairs) {
    const Tensor expected = ops::sub(pair[0], pair[1]);
    for (const int64_t limit : {cuda::kMaxLaunch, int64_t{100}, int64_t{7}}) {
      const Tensor got = poisoned(expected.shape(), DType::f32);
      emulate(sub, call_of(pair, got, nullptr), limit);
      check_same(got, expected, "sub");
    }
    const Tensor mask = ops::gt(pair[0], ops::number(0.5));
    const Tensor chosen = ops::where(mask, pair[0], pair[1]);
    const Tensor got = poisoned(chosen.shape(), DType::f32);
    emulate(info<lane::WhereRow<uint32_t>>(), call_of({mask, pair[0], pair[1]}, got, nullptr));
    check_same(got, chosen, "where");
  }
}

ANNX_TEST_MAIN()
