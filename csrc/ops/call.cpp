#include "ops/call.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "core/fork_mutex.h"
#include "core/layout.h"
#include "ops/device.h"
#include "ops/functional.h"

namespace annx {

namespace {

thread_local bool t_grad_enabled = true;
thread_local bool t_recomputing = false;
thread_local Cost* t_cost = nullptr;  // where the innermost CostScope adds up
TapeHook g_tape_hook = nullptr;
thread_local CallObserver* t_observer = nullptr;

// Captures at work in all threads, and what threads made that have none.
std::atomic<int> g_captures{0};
thread_local bool t_captures = false;
ForkMutex g_others_mutex;
std::unordered_set<uint64_t> g_others;

void note_others(const TensorList& outputs) {
  std::lock_guard<ForkMutex> lock(g_others_mutex);
  for (const Tensor& t : outputs)
    if (t.defined()) g_others.insert(t.storage()->id());
}

// A Python number in the dtype of its partners, without a cast op on the tape. From here on it
// counts as a tensor: rules that save it compute with it in that dtype.
Tensor number_as(const Tensor& number, DType dtype) {
  return is_floating(number.dtype())
             ? Tensor::scalar(load_scalar_f64(number.raw(), number.dtype()), dtype)
             : Tensor::scalar(load_scalar_i64(number.raw(), number.dtype()), dtype);
}

// PyTorch's rule: tensors decide; a Python number only lifts the category (bool < int < float).
DType common_dtype(const TensorList& inputs, int first) {
  bool any = false;
  DType dtype = DType::f32;
  for (int i = first; i < inputs.size(); ++i) {
    const Tensor& t = inputs[i];
    if (!t.defined() || t.impl()->wrapped_number) continue;
    dtype = any ? promote(dtype, t.dtype()) : t.dtype();
    any = true;
  }
  for (int i = first; i < inputs.size(); ++i) {
    const Tensor& t = inputs[i];
    if (!t.defined() || !t.impl()->wrapped_number) continue;
    DType number = t.dtype() == DType::f64 ? DType::f32 : t.dtype();
    if (!any) {
      dtype = number;
      any = true;
    } else if (is_floating(number) && !is_floating(dtype)) {
      dtype = number;
    } else if (dtype == DType::b8) {
      dtype = number;
    }
  }
  return dtype;
}

Tensor to_dtype(const Tensor& t, DType dtype) {
  if (t.impl()->wrapped_number) {
    if (!t_observer || !t_observer->varies(t)) return number_as(t, dtype);
    return call(def::cast, {t.detach()}, {Attr(dtype)});
  }
  return t.dtype() == dtype ? t : ops::cast(t, dtype);
}

// Python's operators on a number given to a captured call make a number: in float64, and outside of
// promotion, as in a call that is not captured.
bool computes_number(const OpCall& c) {
  static constexpr const OpDef* kOperators[] = {
      &def::add,          &def::sub, &def::mul, &def::div,       &def::pow,
      &def::floor_divide, &def::neg, &def::abs, &def::remainder, &def::square};
  if (std::find(std::begin(kOperators), std::end(kOperators), c.op) == std::end(kOperators))
    return false;
  bool varies = false;
  for (const Tensor& t : c.inputs) {
    if (!t.impl()->wrapped_number) return false;
    varies = varies || t_observer->varies(t);
  }
  return varies;
}

// Returns the half dtype whose results have to be cast back, or f32 when there is none.
DType promote_inputs(OpCall& c) {
  const uint32_t flags = c.op->flags;
  if (flags & (kPromote | kPromoteTail)) {
    const int first = flags & kPromoteTail ? 1 : 0;
    bool same = true;
    for (int i = first; i < c.inputs.size() && same; ++i) {
      const Tensor& t = c.inputs[i];
      same = !t.defined() || (t.dtype() == c.inputs[first].dtype() && !t.impl()->wrapped_number);
    }
    if (!same) {
      const DType dtype = common_dtype(c.inputs, first);
      for (int i = first; i < c.inputs.size(); ++i)
        if (c.inputs[i].defined()) c.inputs[i] = to_dtype(c.inputs[i], dtype);
    }
  }
  DType half = DType::f32;
  if (flags & kHalfNative) return half;
  for (Tensor& t : c.inputs) {
    if (!t.defined()) continue;
    if (is_half(t.dtype())) {
      half = t.dtype();
      t = ops::cast(t, DType::f32);
    } else if ((flags & kFloat) && is_integral(t.dtype())) {
      t = to_dtype(t, DType::f32);
    }
  }
  return half;
}

// While it lives, what ops run inside a kernel or a composite with a formula is not counted again.
class Uncounted {
 public:
  Uncounted() : saved_(t_cost) { t_cost = nullptr; }
  ~Uncounted() { t_cost = saved_; }
  Uncounted(const Uncounted&) = delete;

 private:
  Cost* saved_;
};

void run_counted(OpCall& c) {
  OpCall seen = c;  // as the caller sees it: promotion replaces inputs
  {
    const Uncounted inside;
    run(c);
  }
  seen.outputs = c.outputs;
  const Cost cost = op_cost(seen);
  t_cost->flops += cost.flops;
  t_cost->bytes += cost.bytes;
}

// The kernel, with the recorder of a captured step looking on.
void run_observed(OpCall& c, Device device) {
  CallObserver* const observer = t_observer;
  observer->before(c);
  if (c.op->kernel) {
    ObserverPause pause;
    run_kernel(c, device);
  }
  observer->after(c);
}

bool any_requires_grad(const TensorList& inputs) {
  for (const Tensor& t : inputs)
    if (t.defined() && t.requires_grad()) return true;
  return false;
}

}  // namespace

bool grad_enabled() { return t_grad_enabled; }
void set_grad_enabled(bool enabled) { t_grad_enabled = enabled; }
bool recomputing() { return t_recomputing; }
RecomputeGuard::RecomputeGuard() : saved_(std::exchange(t_recomputing, true)) {}
RecomputeGuard::~RecomputeGuard() { t_recomputing = saved_; }
void set_tape_hook(TapeHook hook) { g_tape_hook = hook; }
CallObserver* call_observer() { return t_observer; }
void set_call_observer(CallObserver* observer) { t_observer = observer; }

void watch_others(bool on) {
  t_captures = on;
  if (g_captures.fetch_add(on ? 1 : -1) > 1 || on) return;
  std::lock_guard<ForkMutex> lock(g_others_mutex);
  g_others.clear();
}
bool made_by_others(uint64_t storage) {
  std::lock_guard<ForkMutex> lock(g_others_mutex);
  return g_others.count(storage) > 0;
}

CostScope::CostScope() : outer_(t_cost) { t_cost = &total_; }
CostScope::~CostScope() { t_cost = outer_; }

void run(OpCall& c) {
  if (c.op->instead)
    if (const OpDef* other = c.op->instead(c)) c.op = other;
  const OpDef& op = *c.op;
  if (__builtin_expect(t_cost != nullptr, 0) && (op.cost || !op.composite)) return run_counted(c);
  if (t_observer && (op.flags & kNoCapture)) t_observer->depends_on_values(op.name);
  const bool number = t_observer && computes_number(c);
  if (number)
    for (Tensor& t : c.inputs)
      if (t.dtype() != DType::f64) t = number_as(t, DType::f64);
  const DType half = number ? DType::f32 : promote_inputs(c);
  if (op.composite) {
    c.outputs = op.composite(c);
  } else {
    const Device device = device_of(c);
    OutputSpecs specs;
    op.infer(c, specs);
    if ((op.flags & kElementwise) && device.is_cpu())
      specs[0].strides = kept_layout(c.inputs.data(), c.inputs.size(), specs[0].shape);
    c.outputs.clear();
    for (const OutputSpec& s : specs) {
      if (s.alias >= 0)
        c.outputs.push_back(Tensor::view_of(c.inputs[s.alias], s.shape, s.strides, s.offset));
      else
        c.outputs.push_back(
            Tensor::empty_strided(s.shape, s.strides, s.dtype, s.device.value_or(device)));
    }
    if (__builtin_expect(g_captures.load(std::memory_order_relaxed) > 0, 0) && !t_captures &&
        op.kernel)
      note_others(c.outputs);
    if (t_observer)
      run_observed(c, device);
    else if (op.kernel)
      run_kernel(c, device);
    if (op.backward && t_grad_enabled && any_requires_grad(c.inputs)) g_tape_hook(c);
  }
  if (number) c.outputs[0].impl()->wrapped_number = true;
  if (half != DType::f32)
    for (Tensor& t : c.outputs)
      if (t.defined() && t.dtype() == DType::f32) t = ops::cast(t, half);
}

TensorList call_all(const OpDef& op, TensorList inputs, Attrs attrs) {
  OpCall c;
  c.op = &op;
  c.inputs = std::move(inputs);
  c.attrs = std::move(attrs);
  run(c);
  return std::move(c.outputs);
}

}  // namespace annx
