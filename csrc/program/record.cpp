#include "program/record.h"

#include <algorithm>
#include <atomic>
#include <mutex>

#include "autograd/tape.h"
#include "core/fork_mutex.h"

namespace annx::program {

namespace {

thread_local Recorder* t_recorder = nullptr;

// Which watched storages have died, whichever thread let go of them, while captures are at work.
ForkMutex g_dead_mutex;
std::vector<uint64_t> g_dead;
int g_recorders = 0;

std::atomic<uint64_t> g_leaf_changes{1};

void note_death(uint64_t id) {
  std::lock_guard<ForkMutex> lock(g_dead_mutex);
  if (g_recorders) g_dead.push_back(id);
}

uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
  return h;
}

bool same(const Value& v, int buffer, int64_t offset, const Tensor& t) {
  return v.buffer == buffer && v.offset == offset && v.dtype == t.dtype() && v.numel == t.numel() &&
         v.shape == t.shape() && v.strides == t.strides();
}

uint64_t hooks_of(const Tensor& leaf) {
  const autograd::Meta* const meta = autograd::meta_of(leaf);
  uint64_t h = 0;
  if (meta && meta->hooks)
    for (const auto& hook : meta->hooks->hooks) h = mix(h, static_cast<uint64_t>(hook.first) + 1);
  return h;
}

void observe_grad(const Tensor& leaf, bool replaced) {
  if (t_recorder) t_recorder->use_leaf(leaf, replaced);
}

}  // namespace

int64_t extent_of(const Dims& shape, const Dims& strides) {
  int64_t last = 0;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return 0;
    last += (shape[i] - 1) * strides[i];
  }
  return last + 1;
}

uint64_t leaf_changes() { return g_leaf_changes.load(std::memory_order_relaxed); }
void note_leaf_change() { g_leaf_changes.fetch_add(1, std::memory_order_relaxed); }

Watched::Watched(const Tensor& leaf)
    : tensor(leaf),
      storage(leaf.storage()->id()),
      offset(leaf.offset()),
      shape(leaf.shape()),
      strides(leaf.strides()),
      requires_grad(leaf.requires_grad()),
      hooks(hooks_of(leaf)) {}

bool Watched::unchanged() const {
  return tensor.storage()->id() == storage && tensor.requires_grad() == requires_grad &&
         tensor.offset() == offset && hooks_of(tensor) == hooks && tensor.shape() == shape &&
         tensor.strides() == strides;
}

Recorder* Recorder::active() { return t_recorder; }

void Recorder::refuse(ErrorKind kind, const char* op, const std::string& why) {
  if (!lenient_) fail(kind, op, why);
  if (refusal_.empty()) refusal_ = std::string("[") + op + "] " + why;
}

Recorder::Recorder(const TensorList& arguments, bool lenient)
    : program_(std::make_shared<Program>()), lenient_(lenient) {
  ANNX_CHECK(!t_recorder, runtime, "jit", "expected no capture within a capture");
  Program& p = *program_;
  // Of a small step; larger ones can afford to grow.
  p.instructions.reserve(64);
  p.values.reserve(128);
  p.buffers.reserve(128);
  p.leaves.reserve(32);
  p.watched.reserve(64);
  same_hash_.reserve(128);
  seen_.reserve(128);
  for (int i = 0; i < arguments.size(); ++i) {
    const Tensor& t = arguments[i];
    argument_impls_.push_back(t.impl());
    int alias = -1;
    const auto place = static_cast<int>(argument_buffers_.size());
    const int* const met = buffers_.insert(t.storage()->id(), -1 - place);
    if (!met) argument_buffers_.emplace_back();
    Ids& known = argument_buffers_[static_cast<size_t>(met ? -1 - *met : place)];
    const int64_t begin = t.offset(), end = begin + extent_of(t.shape(), t.strides());
    for (int j : known) {
      const Tensor& other = arguments[p.buffers[static_cast<size_t>(j)].index];
      const int64_t from = other.offset();
      const int64_t to = from + extent_of(other.shape(), other.strides());
      if (from == begin && other.dtype() == t.dtype() && other.shape() == t.shape() &&
          other.strides() == t.strides()) {
        alias = p.buffers[static_cast<size_t>(j)].index;
        break;
      }
      ANNX_CHECK(end <= from || to <= begin, value, "jit",
                 "expected arguments that share no part of their memory but arguments ",
                 p.buffers[static_cast<size_t>(j)].index, " and ", i,
                 " overlap: pass one, or copies");
    }
    p.aliases.push_back(alias);
    if (alias < 0) {
      Buffer b;
      b.kind = Buffer::Kind::argument;
      b.index = i;
      b.base = t.offset();
      known.push_back(static_cast<int>(p.buffers.size()));
      p.buffers.push_back(std::move(b));
      seen_.emplace_back();
    }
    p.arguments.push_back(value_of(t));
  }
  Storage::on_death = note_death;
  {
    std::lock_guard<ForkMutex> lock(g_dead_mutex);
    ++g_recorders;
  }
  t_recorder = this;
  watch_others(true);
  set_call_observer(this);
  autograd::set_grad_observer(observe_grad);
}

Recorder::~Recorder() {
  {
    std::lock_guard<ForkMutex> lock(g_dead_mutex);
    if (--g_recorders == 0) g_dead.clear();
  }
  if (t_recorder != this) return;
  t_recorder = nullptr;
  watch_others(false);
  set_call_observer(nullptr);
  autograd::set_grad_observer(nullptr);
}

// Of several arguments in one storage the one that holds t.
int Recorder::argument_buffer(const Tensor& t, const Ids& candidates) const {
  const int64_t begin = t.offset(), end = begin + extent_of(t.shape(), t.strides());
  for (int b : candidates) {
    const Buffer& buffer = program_->buffers[static_cast<size_t>(b)];
    const Value* whole = nullptr;
    for (int v : program_->arguments)
      if (program_->values[static_cast<size_t>(v)].buffer == b)
        whole = &program_->values[static_cast<size_t>(v)];
    // While the arguments themselves are being listed, the newest is its own.
    if (!whole) return b;
    const int64_t size = extent_of(whole->shape, whole->strides);
    if (begin >= buffer.base && end <= buffer.base + size) return b;
  }
  fail(ErrorKind::value, "jit",
       "expected tensors that lie within an argument or apart from all of them, but one of shape ",
       t.shape(), " shares memory with an argument and reaches beyond it: copy the argument");
}

int Recorder::argument_of(const Tensor& t) const {
  const int* const known = buffers_.find(t.storage()->id());
  return known && *known < 0 ? -1 - *known : -1;
}

int Recorder::buffer_of(const Tensor& t, bool output) {
  const uint64_t id = t.storage()->id();
  const auto fresh = static_cast<int>(program_->buffers.size());
  if (const int* const known = buffers_.insert(id, fresh)) {
    if (*known < 0) return argument_buffer(t, argument_buffers_[static_cast<size_t>(-1 - *known)]);
    if (program_->buffers[static_cast<size_t>(*known)].kind == Buffer::Kind::external) watch(t);
    return *known;
  }
  Buffer& b = program_->buffers.emplace_back();
  if (output) {
    b.bytes = t.storage()->bytes();
    t.storage()->watch();
  } else {
    b.kind = Buffer::Kind::external;
    b.storage = t.storage();
    if (made_by_others(id))
      refuse(ErrorKind::runtime, "jit",
             "expected ops of one thread inside a captured call but another thread made a tensor "
             "that is used here: a replay would not make it anew. Compute it in this thread, or "
             "pass it as an argument");
    watch(t);
  }
  seen_.emplace_back();
  return fresh;
}

void Recorder::watch(const Tensor& t) {
  if (autograd::is_leaf(t) && !watched_.insert(reinterpret_cast<uintptr_t>(t.impl()), 0))
    program_->watched.emplace_back(t);
}

void Recorder::note_change(const Tensor& leaf) {
  if (autograd::is_leaf(leaf) && argument_of(leaf) < 0) buffer_of(leaf, false);
}

int Recorder::value_of(const Tensor& t, bool output) {
  if (!t.defined()) return -1;
  const int buffer = buffer_of(t, output);
  const int64_t offset = t.offset() - program_->buffers[static_cast<size_t>(buffer)].base;
  const auto id = static_cast<int>(program_->values.size());
  // Most buffers have one view, and views of one buffer that begin in one place are few.
  int& first = seen_[static_cast<size_t>(buffer)].value;
  int next = -1;
  if (first < 0) {
    first = id;
  } else if (same(program_->values[static_cast<size_t>(first)], buffer, offset, t)) {
    return first;
  } else {
    const uint64_t hash = mix(static_cast<uint64_t>(buffer), static_cast<uint64_t>(offset));
    int* const newest = values_.insert(hash, id);
    for (int i = newest ? *newest : -1; i >= 0; i = same_hash_[static_cast<size_t>(i)])
      if (same(program_->values[static_cast<size_t>(i)], buffer, offset, t)) return i;
    if (newest) next = std::exchange(*newest, id);
  }
  same_hash_.push_back(next);
  Value& v = program_->values.emplace_back();
  v.buffer = buffer;
  v.dtype = t.dtype();
  v.offset = offset;
  v.numel = t.numel();
  v.shape = t.shape();
  v.strides = t.strides();
  return id;
}

void Recorder::depends_on_values(const char* op) {
  refuse(ErrorKind::runtime, op,
         "expected an op whose result has a fixed shape inside a captured call, but the shape of "
         "this one depends on values: compute it outside and pass it as an argument");
}

void Recorder::before(const OpCall& c) {
  for (const TensorList* list : {&c.inputs, &c.outputs})
    for (const Tensor& t : *list)
      if (t.defined() && !t.device().is_cpu())
        refuse(ErrorKind::runtime, c.op->name, "expected tensors on cpu inside a captured call");
  if (!(c.op->flags & kMutates)) return;
  versions_.clear();
  for (const Tensor& t : c.inputs) versions_.push_back(t.defined() ? t.storage()->version() : 0);
}

void Recorder::after(const OpCall& c) {
  if (!c.op->kernel) {  // a view: its storage says it all
    for (const Tensor& t : c.inputs)
      if (t.defined() && autograd::is_leaf(t) && argument_of(t) < 0) buffer_of(t, false);
    return;
  }
  Instruction& i = program_->instructions.emplace_back();
  i.op = c.op;
  i.attrs = c.attrs;
  i.scope = scope_;
  i.region = region_;
  for (const Tensor& t : c.inputs) i.in.push_back(value_of(t));
  for (const Tensor& t : c.outputs) i.out.push_back(value_of(t, true));
  if (c.op->flags & kMutates) {
    for (int k = 0; k < c.inputs.size(); ++k) {
      const Tensor& t = c.inputs[k];
      if (!t.defined() || t.storage()->version() == versions_[k]) continue;
      const int b = program_->values[static_cast<size_t>(i.in[k])].buffer;
      seen_[static_cast<size_t>(b)].written = true;
      bool listed = false;
      for (int w : i.writes) listed = listed || w == b;
      if (!listed) i.writes.push_back(b);
    }
  }
  if (c.op->flags & kKeyed) {
    const Ints& key = c.attrs[0].ints();
    const int* const drawn = draws_.find(static_cast<uint64_t>(key[1]));
    if (drawn && static_cast<uint64_t>(key[0]) == seed_) i.draw = *drawn;
  }
}

void Recorder::drew(uint64_t seed, uint64_t counter) {
  // What lies between two of them was drawn by other threads.
  if (program_->draws > 0 && (seed != seed_ || counter <= last_draw_)) reseeded();
  seed_ = seed;
  last_draw_ = counter;
  draws_.insert(counter, program_->draws++);
}

void Recorder::drew_apart() {
  refuse(
      ErrorKind::runtime, "Generator",
      "expected random numbers of the global stream inside a captured call, but a generator was "
      "given, whose state a replay would not move on: leave it out, or draw outside and pass the "
      "numbers as an argument");
}

void Recorder::reseeded() {
  refuse(ErrorKind::runtime, "jit",
         "expected no manual_seed inside a captured call: seed before it");
}

void Recorder::use_leaf(const Tensor& leaf, bool replaced) {
  const auto place = static_cast<int>(program_->leaves.size());
  if (leaves_.insert(reinterpret_cast<uintptr_t>(leaf.impl()), place)) return;
  for (const TensorImpl* argument : argument_impls_)
    if (argument == leaf.impl())
      refuse(ErrorKind::value, "jit",
             "expected no gradient to be added up in the grad of an argument: it is another tensor "
             "in the next call. Use annx.grad, or let the function close over the tensor");
  Leaf l;
  l.tensor = leaf;
  const Tensor& grad = autograd::meta_of(leaf)->grad;
  l.had = grad;
  if (!replaced && !grad.defined()) l.entry = Leaf::kNone;
  if (!replaced && grad.defined()) {
    if (!buffers_.insert(grad.storage()->id(), static_cast<int>(program_->buffers.size()))) {
      Buffer& b = program_->buffers.emplace_back();
      b.kind = Buffer::Kind::gradient;
      b.index = place;
      b.base = grad.offset();
      seen_.emplace_back();
    }
    l.entry = value_of(grad);
  }
  program_->leaves.push_back(std::move(l));
}

bool Recorder::varies(const Tensor& number) const {
  const int* const known = buffers_.find(number.storage()->id());
  return known && (*known < 0 ||
                   program_->buffers[static_cast<size_t>(*known)].kind != Buffer::Kind::external);
}

void Recorder::check_readable(const Tensor& t, const char* what) {
  const auto complain = [&](const char* why) {
    refuse(ErrorKind::runtime, what,
           std::string("expected no look at a tensor's value inside a captured call: ") + why +
               ". Return the tensor and read it outside, express the choice with annx.where, or "
               "name a number that must be known in static_argnums");
  };
  if (t.impl()->wrapped_number && varies(t)) return complain("it is a number given as an argument");
  if (argument_of(t) >= 0) return complain("it comes from an argument");
  if (t.requires_grad())
    return complain("it takes part in the gradient and changes from call to call");
  const int* const known = buffers_.find(t.storage()->id());
  if (!known) return;
  if (program_->buffers[static_cast<size_t>(*known)].kind != Buffer::Kind::external)
    return complain("it is computed by the call");
  if (seen_[static_cast<size_t>(*known)].written) complain("the call changes it");
}

void Recorder::add_host_call(std::function<void()> fn) {
  Instruction i;
  i.host = static_cast<int>(program_->hosts.size());
  program_->hosts.push_back(std::move(fn));
  program_->instructions.push_back(std::move(i));
}

int Recorder::kept_beyond(const TensorList& results) const {
  // How often the storages of results and grads are held by right.
  struct Held {
    const Storage* storage = nullptr;
    int times = 0;
    bool dead = false;
  };
  std::vector<Held> held(program_->buffers.size());
  std::vector<const TensorImpl*> ours;
  for (const Tensor& t : results)
    if (t.defined()) ours.push_back(t.impl());
  for (const Leaf& l : program_->leaves) {
    if (const Tensor& grad = autograd::meta_of(l.tensor)->grad; grad.defined())
      ours.push_back(grad.impl());
    if (is_lost(l)) ours.push_back(l.tensor.impl());
  }
  std::sort(ours.begin(), ours.end());
  ours.erase(std::unique(ours.begin(), ours.end()), ours.end());
  for (const TensorImpl* impl : ours) {
    const int* const b = buffers_.find(impl->storage->id());
    if (!b || *b < 0) continue;
    held[static_cast<size_t>(*b)].storage = impl->storage.get();
    ++held[static_cast<size_t>(*b)].times;
  }
  {
    std::lock_guard<ForkMutex> lock(g_dead_mutex);
    for (uint64_t id : g_dead)
      if (const int* const b = buffers_.find(id); b && *b >= 0)
        held[static_cast<size_t>(*b)].dead = true;
  }
  int kept = 0;
  for (size_t b = 0; b < held.size(); ++b) {
    if (program_->buffers[b].kind != Buffer::Kind::temporary || held[b].dead) continue;
    kept += !held[b].storage || held[b].storage->use_count() > held[b].times;
  }
  return kept;
}

int Recorder::set_scope(int scope) { return std::exchange(scope_, scope); }
int Recorder::set_region(int region) {
  return std::exchange(region_, region < 0 ? ++regions_ : region);
}

// Whether nobody but this recorder holds a leaf: the call made it for itself.
bool Recorder::is_lost(const Leaf& l) const {
  TensorImpl* const impl = l.tensor.impl();
  const int ours = watched_.find(reinterpret_cast<uintptr_t>(impl)) ? 2 : 1;
  return l.entry < 0 && impl->use_count() == ours;
}

// Leaves that the call made for itself are gone with it, and so are their grads.
void Recorder::drop_lost_leaves() {
  std::vector<Leaf> kept;
  for (Leaf& l : program_->leaves) {
    if (is_lost(l)) continue;
    if (l.entry >= 0)
      program_->buffers[static_cast<size_t>(program_->values[static_cast<size_t>(l.entry)].buffer)]
          .index = static_cast<int>(kept.size());
    kept.push_back(std::move(l));
  }
  program_->leaves = std::move(kept);
}

std::shared_ptr<Program> Recorder::finish(const TensorList& results) {
  t_recorder = nullptr;
  watch_others(false);
  set_call_observer(nullptr);
  autograd::set_grad_observer(nullptr);
  Program& p = *program_;
  const auto hand_out = [&](int value) {
    if (value < 0) return;
    Buffer& b = p.buffers[static_cast<size_t>(p.values[static_cast<size_t>(value)].buffer)];
    if (b.kind == Buffer::Kind::temporary) b.kind = Buffer::Kind::result;
  };
  for (const Tensor& t : results) {
    p.results.push_back(value_of(t));
    hand_out(p.results.back());
    p.tracked.push_back(t.defined() && t.requires_grad());
  }
  drop_lost_leaves();
  for (Leaf& l : p.leaves) {
    const Tensor& grad = autograd::meta_of(l.tensor)->grad;
    const Tensor had = std::move(l.had);
    l.had = Tensor();
    if (!grad.defined()) {
      l.change = l.entry == Leaf::kNone ? Leaf::Change::none : Leaf::Change::cleared;
    } else if (l.entry == Leaf::kAny || !had.defined() || !had.is_same(grad)) {
      l.change = Leaf::Change::set;
      l.value = value_of(grad);
      hand_out(l.value);
    }
  }
  // Leaves that nobody else holds, numbers for instance, cannot change.
  std::erase_if(p.watched, [](const Watched& w) { return w.tensor.impl()->use_count() == 1; });
  p.recorded = static_cast<int>(p.instructions.size());
  return std::move(program_);
}

}  // namespace annx::program
