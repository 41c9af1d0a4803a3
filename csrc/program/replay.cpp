#include "program/replay.h"

#include <algorithm>
#include <chrono>

#include "autograd/tape.h"
#include "ops/random/generator.h"
#include "program/fused.h"

namespace annx::program {

namespace {

constexpr size_t kLargeArena = size_t{1} << 20;

thread_local int t_failed_scope = -1;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Instance::Instance(std::shared_ptr<const Program> program, Constants* constants)
    : program_(std::move(program)), constants_(constants) {
  const Program& p = *program_;
  // An arena takes over from the blocks of the call that was recorded.
  if (p.arena_bytes >= kLargeArena) shrink_cache(p.arena_bytes);
  arena_ = Storage::allocate(p.arena_bytes + 64);
  tensors_.resize(p.values.size());
  values_of_.resize(p.buffers.size());
  std::vector<char> used(p.values.size(), 0);
  for (const Instruction& i : p.instructions) {
    for (int v : i.in)
      if (v >= 0) used[static_cast<size_t>(v)] = 1;
    for (int v : i.out) used[static_cast<size_t>(v)] = 1;
  }
  for (int v : p.results)
    if (v >= 0) used[static_cast<size_t>(v)] = 1;
  for (const Leaf& l : p.leaves) {
    if (l.value >= 0) used[static_cast<size_t>(l.value)] = 1;
    if (l.entry >= 0) used[static_cast<size_t>(l.entry)] = 1;
  }
  for (size_t v = 0; v < p.values.size(); ++v) {
    if (!used[v]) continue;
    const Value& value = p.values[v];
    const auto b = static_cast<size_t>(value.buffer);
    const Buffer& buffer = p.buffers[b];
    switch (buffer.kind) {
      case Buffer::Kind::temporary:
        tensors_[v] = Tensor::from_storage(
            arena_, value.shape, value.strides, value.dtype,
            value.offset + static_cast<int64_t>(buffer.offset / itemsize(value.dtype)));
        break;
      case Buffer::Kind::external:
        tensors_[v] = Tensor::from_storage(buffer.storage, value.shape, value.strides, value.dtype,
                                           value.offset);
        break;
      default:
        tensors_[v] = Tensor::from_storage(nothing_, value.shape, value.strides, value.dtype);
        values_of_[b].push_back(static_cast<int>(v));
    }
  }
  for (size_t b = 0; b < p.buffers.size(); ++b) {
    const Buffer::Kind kind = p.buffers[b].kind;
    if (kind == Buffer::Kind::argument || kind == Buffer::Kind::gradient)
      moving_.push_back(static_cast<int>(b));
    if (kind == Buffer::Kind::result) results_.push_back(static_cast<int>(b));
  }
  for (const Instruction& i : p.instructions) {
    Step s;
    s.instruction = &i;
    s.call.op = i.op;
    s.call.attrs = i.attrs;
    for (int v : i.in) s.call.inputs.push_back(v < 0 ? Tensor() : tensors_[static_cast<size_t>(v)]);
    for (int v : i.out) s.call.outputs.push_back(tensors_[static_cast<size_t>(v)]);
    if (i.draw >= 0) keyed_.push_back(static_cast<int>(steps_.size()));
    steps_.push_back(std::move(s));
  }
}

bool Instance::fits(const Program& p) {
  if (const uint64_t now = leaf_changes(); now != p.watched_at) {
    for (const Watched& w : p.watched)
      if (!w.unchanged()) return false;
    p.watched_at = now;
  }
  for (const Leaf& l : p.leaves) {
    if (l.entry == Leaf::kAny) continue;
    const Tensor& grad = autograd::meta_of(l.tensor)->grad;
    if (grad.defined() != (l.entry >= 0)) return false;
    if (l.entry < 0) continue;
    const Value& v = p.values[static_cast<size_t>(l.entry)];
    if (grad.dtype() != v.dtype || grad.shape() != v.shape || grad.strides() != v.strides)
      return false;
  }
  return true;
}

void Instance::bind(size_t buffer, const Ref<Storage>& storage, int64_t base) {
  for (int v : values_of_[buffer]) {
    TensorImpl& impl = *tensors_[static_cast<size_t>(v)].impl();
    if (impl.storage.get() != storage.get()) impl.storage = storage;
    impl.offset = base + program_->values[static_cast<size_t>(v)].offset;
  }
}

// The memory of the last call when nobody holds it any more.
Ref<Storage> Instance::result_storage(size_t buffer) {
  const auto& values = values_of_[buffer];
  if (!values.empty()) {
    const Ref<Storage>& last = tensors_[static_cast<size_t>(values[0])].storage();
    if (last->bytes() > 0 && last->use_count() == values.size()) return last;
  }
  return Storage::allocate(program_->buffers[buffer].bytes);
}

Tensor Instance::handed_out(int value) const {
  if (value < 0) return Tensor();
  const Value& v = program_->values[static_cast<size_t>(value)];
  const auto b = static_cast<size_t>(v.buffer);
  const Buffer& buffer = program_->buffers[b];
  if (buffer.kind == Buffer::Kind::external)
    return Tensor::from_storage(buffer.storage, v.shape, v.strides, v.dtype, v.offset);
  const auto any = static_cast<size_t>(values_of_[b][0]);
  const int64_t base = tensors_[any].offset() - program_->values[any].offset;
  return Tensor::from_storage(tensors_[any].storage(), v.shape, v.strides, v.dtype,
                              base + v.offset);
}

void Instance::call_host(int host) {
  if (loop_) return loop_->feed();
  const GradModeGuard as_called(grad_mode_);
  program_->hosts[static_cast<size_t>(host)]();
}

void Instance::run_step(Step& step) {
  const Instruction& i = *step.instruction;
  if (i.op)
    i.op->kernel(step.call);
  else if (i.fused)
    run_fused(*i.fused, step.call);
  else
    call_host(i.host);
}

// Other threads may make them anew at any time; an instance keeps those that it took for a call.
void Instance::take_constants() {
  std::shared_ptr<const Constants::Made> now = constants_->of_now(made_);
  if (now == made_) return;
  made_ = std::move(now);
  for (size_t b = 0; b < made_->folded.size(); ++b)
    if (made_->folded[b]) bind(b, made_->folded[b], 0);
  for (size_t k = 0; k < steps_.size(); ++k) steps_[k].call.prepared = made_->prepared[k].get();
}

void Instance::begin_results() {
  // A grad that is replaced unread gives its memory to the new one.
  for (const Leaf& l : program_->leaves)
    if (l.entry == Leaf::kAny && l.change != Leaf::Change::none)
      autograd::meta_of(l.tensor)->grad = Tensor();
  for (int id : results_) {
    const auto b = static_cast<size_t>(id);
    bind(b, result_storage(b), 0);
  }
}

void Instance::run_steps() {
  const Program& p = *program_;
  const RandomState random =
      p.draws ? take_random_states(static_cast<uint64_t>(p.draws)) : RandomState{};
  for (int s : keyed_) {
    Step& step = steps_[static_cast<size_t>(s)];
    step.call.attrs[0] =
        random_key({random.seed, random.counter + static_cast<uint64_t>(step.instruction->draw)});
  }
  size_t at = 0;
  try {
    if (times_) {
      for (; at < steps_.size(); ++at) {
        const int64_t begin = now_ns();
        run_step(steps_[at]);
        times_->emplace_back(begin, now_ns());
      }
    } else {
      for (; at < steps_.size(); ++at) run_step(steps_[at]);
    }
  } catch (...) {
    failed_scope_ = steps_[at].instruction->scope;
    if (p.draws) {  // the eager call would have drawn no further
      int drawn = 0;
      for (size_t k = 0; k <= at; ++k) drawn = std::max(drawn, steps_[k].instruction->draw + 1);
      set_random_state({random.seed, random.counter + static_cast<uint64_t>(drawn)});
    }
    throw;
  }
}

void Instance::finish_leaves() {
  for (const Leaf& l : program_->leaves) {
    if (l.change == Leaf::Change::none) continue;
    autograd::meta_of(l.tensor)->grad =
        l.change == Leaf::Change::set ? handed_out(l.value) : Tensor();
  }
}

TensorList Instance::run(const TensorList& arguments) {
  const Program& p = *program_;
  if (constants_) take_constants();
  for (int id : moving_) {
    const auto b = static_cast<size_t>(id);
    const Buffer& buffer = p.buffers[b];
    const Tensor& t =
        buffer.kind == Buffer::Kind::argument
            ? arguments[buffer.index]
            : autograd::meta_of(p.leaves[static_cast<size_t>(buffer.index)].tensor)->grad;
    ANNX_CHECK(t.defined(), runtime, "jit",
               "expected a gradient to be there still but another thread has taken it away");
    bind(b, t.storage(), t.offset());
  }
  begin_results();
  {
    grad_mode_ = grad_enabled();
    const GradModeGuard no_grad(false);
    run_steps();
  }
  finish_leaves();
  TensorList out;
  for (int v : p.results) out.push_back(handed_out(v));
  for (int id : moving_) bind(static_cast<size_t>(id), nothing_, 0);
  return out;
}

Runner::Runner(std::shared_ptr<Program> program, bool optimized)
    : program_(std::move(program)), optimized_(optimized) {
  const Program& p = *program_;
  for (const Instruction& i : p.instructions) {
    changes_state_ = changes_state_ || i.host >= 0;
    for (int b : i.writes) {
      const Buffer::Kind kind = p.buffers[static_cast<size_t>(b)].kind;
      changes_state_ =
          changes_state_ || (kind != Buffer::Kind::temporary && kind != Buffer::Kind::result);
    }
  }
  for (const Leaf& l : p.leaves) changes_state_ = changes_state_ || l.change != Leaf::Change::none;
}

const Program& Runner::program() const {
  std::call_once(ready_, [this] {
    optimized_ ? optimize(*program_) : plan_arena(*program_);
    if (!program_->prepared) return;
    constants_ = std::make_unique<Constants>(program_);
    if (constants_->empty()) constants_ = nullptr;
  });
  return *program_;
}

void Runner::prepare() {
  program();
  if (!constants_) return;
  constants_->forget();
  constants_->of_now(nullptr);
}

std::unique_ptr<Instance> Runner::take() {
  program();
  {
    std::lock_guard<ForkMutex> lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Instance> instance = std::move(idle_.back());
      idle_.pop_back();
      return instance;
    }
  }
  return std::make_unique<Instance>(program_, constants_.get());
}

void Runner::give(std::unique_ptr<Instance> instance) {
  std::lock_guard<ForkMutex> lock(mutex_);
  idle_.push_back(std::move(instance));
}

int Runner::failed_scope() const { return t_failed_scope; }

// Holds off other threads where calls change state, and this thread where it is inside already.
class Runner::Turn {
 public:
  explicit Turn(Runner& runner) : runner_(runner), outer_(t_innermost) {
    if (!runner.changes_state_) return;
    for (const Turn* turn = outer_; turn; turn = turn->outer_)
      ANNX_CHECK(&turn->runner_ != &runner, runtime, "jit",
                 "expected no call of a captured function from inside its own replay");
    runner.running_.lock();
    t_innermost = this;
  }
  ~Turn() {
    if (!runner_.changes_state_) return;
    t_innermost = outer_;
    runner_.running_.unlock();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  static thread_local const Turn* t_innermost;
  Runner& runner_;
  const Turn* outer_;
};

thread_local const Runner::Turn* Runner::Turn::t_innermost = nullptr;

template <class Run>
void Runner::with_instance(const Run& run) {
  const Turn turn(*this);
  std::unique_ptr<Instance> instance = take();
  try {
    run(*instance);
    give(std::move(instance));
  } catch (...) {
    t_failed_scope = instance->failed_scope();
    throw;  // the instance is dropped: its memory may be half written
  }
}

TensorList Runner::run(const TensorList& arguments) {
  TensorList out;
  with_instance([&](Instance& instance) { out = instance.run(arguments); });
  return out;
}

void Runner::run(Loop& loop) {
  with_instance([&](Instance& instance) { instance.run(loop); });
}

std::vector<std::pair<int64_t, int64_t>> Runner::timed_run(const TensorList& arguments) {
  std::vector<std::pair<int64_t, int64_t>> times;
  with_instance([&](Instance& instance) {
    instance.set_times(&times);
    instance.run(arguments);
    instance.set_times(nullptr);
  });
  return times;
}

}  // namespace annx::program
