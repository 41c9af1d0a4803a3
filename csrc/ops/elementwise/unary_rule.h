// What the OpDefs of unary rows share.
#pragma once

#include "ops/elementwise/driver.h"
#include "ops/elementwise/int_lane.h"
#include "ops/elementwise/rows.h"
#include "ops/functional.h"

namespace annx {

// One kernel per computing dtype; nullptr where the op does not take it.
struct KernelByDType {
  ElementwiseFn f32, f64, i64, i32, u8, b8;
  StreamFn stream = nullptr;           // f32 past the caches
  ElementwiseFn f32_number = nullptr;  // f32, as in BinaryKernel
};

// Attributes as numbers, in order: what P(i) of a row reads.
struct RowParams {
  double values[4];
  explicit RowParams(const Attrs& attrs) {
    for (int i = 0; i < attrs.size() && i < 4; ++i) values[i] = attrs[i].f();
  }
};

using DerivativeFn = Tensor (*)(const Tensor& g, const Tensor& x, const Tensor& y,
                                const double* params);

void infer_like_first(const OpCall& c, OutputSpecs& specs);
Cost elementwise_cost(const OpCall& c);
ElementwiseFn pick(const KernelByDType& kernels, DType dtype, const char* op);
// All inputs are of one dtype.
void run_picked(const OpCall& c, const KernelByDType& kernels, const double* params);
void run_unary(const OpCall& c, const KernelByDType& kernels);
// g times the derivative: the fused kernel, or differentiable ops while the tape listens.
Tensor unary_gradient(const OpDef& fused, DerivativeFn derivative, const Attrs& attrs,
                      const Tensor& g, const Tensor& x, const Tensor& y);
void unary_rule(BackwardCall& b, uint32_t saves, const OpDef& fused, DerivativeFn derivative);

}  // namespace annx
