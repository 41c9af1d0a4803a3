// The one road by which ops run: promotion, checks, allocation, kernel, tape.
#pragma once

#include "ops/registry.h"

namespace annx {

// Applies c.op to c.inputs and c.attrs and fills c.outputs.
void run(OpCall& c);

TensorList call_all(const OpDef& op, TensorList inputs, Attrs attrs = {});
inline Tensor call(const OpDef& op, TensorList inputs, Attrs attrs = {}) {
  return std::move(call_all(op, std::move(inputs), std::move(attrs))[0]);
}

// Whether ops are recorded on the tape of this thread.
bool grad_enabled();
void set_grad_enabled(bool enabled);

class GradModeGuard {
 public:
  explicit GradModeGuard(bool enabled) : saved_(grad_enabled()) { set_grad_enabled(enabled); }
  ~GradModeGuard() { set_grad_enabled(saved_); }
  GradModeGuard(const GradModeGuard&) = delete;

 private:
  bool saved_;
};

// Adds up op_cost of every op this thread runs while it lives; composites count by their parts. A
// scope inside another takes its share alone.
class CostScope {
 public:
  CostScope();
  ~CostScope();
  CostScope(const CostScope&) = delete;
  const Cost& total() const { return total_; }

 private:
  Cost total_;
  Cost* outer_;
};

// Layers above listen here: the tape records differentiable calls.
using TapeHook = void (*)(OpCall&);
void set_tape_hook(TapeHook hook);

}  // namespace annx
