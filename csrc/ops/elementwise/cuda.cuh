// For the cuda.cu files of elementwise families: opens the target CUDA, defines the kernel template
// and its table entries. end.h closes it.
#pragma once

#include <cuda_runtime.h>

#include "cuda/kernels.cuh"
#include "ops/elementwise/int_lane.h"
#include "ops/elementwise/rows.h"

#define ANNX_TARGET cuda_lane
#define ANNX_TARGET_CUDA 1
#include "dispatch/begin.h"

#include "ops/elementwise/cuda_thread-inl.h"

namespace {

using cuda::ElementwiseEntry;

template <class Row>
__global__ void __launch_bounds__(cuda::kThreads) elementwise(const __grid_constant__ Launch l) {
  elementwise_thread<Row>(l, blockIdx.x, threadIdx.x, cuda::kThreads);
}

template <class Row>
ElementwiseEntry entry(const char* op, DType input, int output = -1) {
  ElementwiseEntry e{};
  e.op = op;
  e.input = input;
  e.output = output;
  e.kernel = reinterpret_cast<const void*>(&elementwise<Row>);
  e.width = Row::width;
  e.inputs = Row::inputs;
  e.in_size[0] = sizeof(typename Row::In0);
  if constexpr (Row::inputs > 1) e.in_size[1] = sizeof(typename Row::In1);
  if constexpr (Row::inputs > 2) e.in_size[2] = sizeof(typename Row::In2);
  e.out_size = sizeof(typename Row::Out);
  return e;
}

}  // namespace

// Entries of rows by domain: Number rows take integers too.
#define ANNX_FLOAT_ENTRIES(op, F, inputs)            \
  entry<FormulaRow<F32, F, inputs>>(op, DType::f32), \
      entry<FormulaRow<F64, F, inputs>>(op, DType::f64),
#define ANNX_INT_ENTRIES(op, F, inputs)                               \
  entry<FormulaRow<IntLane<int64_t>, F, inputs>>(op, DType::i64),     \
      entry<FormulaRow<IntLane<int32_t>, F, inputs>>(op, DType::i32), \
      entry<FormulaRow<IntLane<uint8_t>, F, inputs>>(op, DType::u8),  \
      entry<FormulaRow<IntLane<Bool8>, F, inputs>>(op, DType::b8),
#define ANNX_ENTRIES_Real(op, F, inputs) ANNX_FLOAT_ENTRIES(op, F, inputs)
#define ANNX_ENTRIES_Number(op, F, inputs) \
  ANNX_FLOAT_ENTRIES(op, F, inputs) ANNX_INT_ENTRIES(op, F, inputs)
#define ANNX_SIGN_IN(entries) \
  const cuda::SignIn sign_in(entries, sizeof(entries) / sizeof(entries[0]));
