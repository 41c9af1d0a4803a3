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

// Whether this thread runs a function once more for the sake of its gradient: what it keeps beside
// its results, running statistics for one, has been brought forward already.
bool recomputing();
class RecomputeGuard {
 public:
  RecomputeGuard();
  ~RecomputeGuard();
  RecomputeGuard(const RecomputeGuard&) = delete;

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

// Sees every kernel that this thread starts, but not what kernels do inside: the recorder of a
// captured step.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  // Ahead of the kernel, when outputs have their memory.
  virtual void before(const OpCall& c) = 0;
  virtual void after(const OpCall& c) = 0;
  // A counter of the default random stream was drawn.
  virtual void drew(uint64_t seed, uint64_t counter) = 0;
  // A stream of somebody's own was drawn from.
  virtual void drew_apart() = 0;
  // Whether a Python number stands for one that differs from call to call.
  virtual bool varies(const Tensor& number) const = 0;
  // Something outside of kernels looks at values: the result cannot be made anew from a record.
  virtual void depends_on_values(const char* op) = 0;
};
CallObserver* call_observer();
void set_call_observer(CallObserver* observer);

// While this thread captures: notes which memory the ops of other threads make.
void watch_others(bool on);
bool made_by_others(uint64_t storage);

class ObserverPause {
 public:
  ObserverPause() : saved_(call_observer()) { set_call_observer(nullptr); }
  ~ObserverPause() { set_call_observer(saved_); }
  ObserverPause(const ObserverPause&) = delete;

 private:
  CallObserver* saved_;
};

}  // namespace annx
