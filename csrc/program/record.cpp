#include "program/record.h"

#include <mutex>
#include <unordered_set>

#include "autograd/tape.h"

namespace annx::program {

namespace {

thread_local Recorder* t_recorder = nullptr;

// Temporaries of captures at work that have not been freed, whichever thread frees them.
std::mutex g_alive_mutex;
std::unordered_set<uint64_t> g_alive;

void note_death(uint64_t id) {
  std::lock_guard<std::mutex> lock(g_alive_mutex);
  g_alive.erase(id);
}

uint64_t mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
  return h;
}

uint64_t hash_of(const Value& v) {
  uint64_t h = mix(static_cast<uint64_t>(v.buffer), static_cast<uint64_t>(v.offset));
  h = mix(h, static_cast<uint64_t>(v.dtype));
  for (int64_t d : v.shape) h = mix(h, static_cast<uint64_t>(d));
  for (int64_t s : v.strides) h = mix(h, static_cast<uint64_t>(s));
  return h;
}

bool same(const Value& a, const Value& b) {
  return a.buffer == b.buffer && a.offset == b.offset && a.dtype == b.dtype && a.shape == b.shape &&
         a.strides == b.strides;
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
  values_.reserve(128);
  buffers_.reserve(128);
  for (int i = 0; i < arguments.size(); ++i) {
    const Tensor& t = arguments[i];
    argument_impls_.push_back(t.impl());
    int alias = -1;
    Ids& known = argument_buffers_[t.storage()->id()];
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
      written_.push_back(0);
    }
    p.arguments.push_back(value_of(t));
  }
  Storage::on_death = note_death;
  t_recorder = this;
  set_call_observer(this);
  autograd::set_grad_observer(observe_grad);
}

Recorder::~Recorder() {
  {
    std::lock_guard<std::mutex> lock(g_alive_mutex);
    for (const auto& [id, buffer] : buffers_) g_alive.erase(id);
  }
  if (t_recorder != this) return;
  t_recorder = nullptr;
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

int Recorder::buffer_of(const Tensor& t, bool output) {
  const uint64_t id = t.storage()->id();
  if (const auto a = argument_buffers_.find(id); a != argument_buffers_.end())
    return argument_buffer(t, a->second);
  const auto [at, fresh] = buffers_.try_emplace(id, static_cast<int>(program_->buffers.size()));
  if (!fresh) return at->second;
  Buffer b;
  if (output) {
    b.bytes = t.storage()->bytes();
    t.storage()->watch();
    std::lock_guard<std::mutex> lock(g_alive_mutex);
    g_alive.insert(id);
  } else {
    b.kind = Buffer::Kind::external;
    b.storage = t.storage();
    if (t.requires_grad() && autograd::is_leaf(t)) program_->watched.emplace_back(t, id);
  }
  program_->buffers.push_back(std::move(b));
  written_.push_back(0);
  return at->second;
}

int Recorder::value_of(const Tensor& t, bool output) {
  if (!t.defined()) return -1;
  Value v;
  v.buffer = buffer_of(t, output);
  v.dtype = t.dtype();
  v.offset = t.offset() - program_->buffers[static_cast<size_t>(v.buffer)].base;
  v.numel = t.numel();
  v.shape = t.shape();
  v.strides = t.strides();
  const auto id = static_cast<int>(program_->values.size());
  const auto [at, fresh] = values_.try_emplace(hash_of(v), id);
  if (!fresh) {
    for (int i = at->second; i >= 0; i = same_hash_[static_cast<size_t>(i)])
      if (same(program_->values[static_cast<size_t>(i)], v)) return i;
  }
  same_hash_.push_back(fresh ? -1 : at->second);
  at->second = id;
  program_->values.push_back(std::move(v));
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
  if (!c.op->kernel) return;  // a view: its storage says it all
  Instruction i;
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
      written_[static_cast<size_t>(b)] = 1;
      bool listed = false;
      for (int w : i.writes) listed = listed || w == b;
      if (!listed) i.writes.push_back(b);
    }
  }
  if (c.op->flags & kKeyed) {
    const Ints& key = c.attrs[0].ints();
    const auto drawn = draws_.find(static_cast<uint64_t>(key[1]));
    if (drawn != draws_.end() && static_cast<uint64_t>(key[0]) == seed_) i.draw = drawn->second;
  }
  program_->instructions.push_back(std::move(i));
}

void Recorder::drew(uint64_t seed, uint64_t counter) {
  if (program_->draws == 0) first_draw_ = counter;
  if (program_->draws > 0 &&
      (seed != seed_ || counter != first_draw_ + static_cast<uint64_t>(program_->draws)))
    refuse(ErrorKind::runtime, "jit",
           "expected no manual_seed inside a captured call: seed before it");
  seed_ = seed;
  draws_[counter] = program_->draws++;
}

void Recorder::use_leaf(const Tensor& leaf, bool replaced) {
  const auto [at, fresh] =
      leaves_.try_emplace(leaf.impl(), static_cast<int>(program_->leaves.size()));
  if (!fresh) return;
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
    const uint64_t id = grad.storage()->id();
    if (!buffers_.count(id) && !argument_buffers_.count(id)) {
      Buffer b;
      b.kind = Buffer::Kind::gradient;
      b.index = at->second;
      b.base = grad.offset();
      buffers_[id] = static_cast<int>(program_->buffers.size());
      program_->buffers.push_back(std::move(b));
      written_.push_back(0);
    }
    l.entry = value_of(grad);
  }
  program_->leaves.push_back(std::move(l));
}

bool Recorder::varies(const Tensor& number) const {
  if (argument_buffers_.count(number.storage()->id())) return true;
  const auto known = buffers_.find(number.storage()->id());
  return known != buffers_.end() &&
         program_->buffers[static_cast<size_t>(known->second)].kind != Buffer::Kind::external;
}

void Recorder::check_readable(const Tensor& t, const char* what) {
  const auto complain = [&](const char* why) {
    refuse(ErrorKind::runtime, what,
           std::string("expected no look at a tensor's value inside a captured call: ") + why +
               ". Return the tensor and read it outside, express the choice with annx.where, or "
               "name a number that must be known in static_argnums");
  };
  if (t.impl()->wrapped_number && varies(t)) return complain("it is a number given as an argument");
  if (argument_buffers_.count(t.storage()->id())) return complain("it comes from an argument");
  if (t.requires_grad())
    return complain("it takes part in the gradient and changes from call to call");
  const auto known = buffers_.find(t.storage()->id());
  if (known == buffers_.end()) return;
  if (program_->buffers[static_cast<size_t>(known->second)].kind != Buffer::Kind::external)
    return complain("it is computed by the call");
  if (written_[static_cast<size_t>(known->second)]) complain("the call changes it");
}

void Recorder::add_host_call(std::function<void()> fn) {
  Instruction i;
  i.host = static_cast<int>(program_->hosts.size());
  program_->hosts.push_back(std::move(fn));
  program_->instructions.push_back(std::move(i));
}

int Recorder::kept_beyond(const TensorList& results) const {
  // How often the storages of results and grads are held by right.
  std::unordered_map<uint64_t, std::pair<const Storage*, int>> known;
  std::unordered_set<const TensorImpl*> counted;
  const auto hold = [&](const Tensor& t) {
    if (!t.defined() || !counted.insert(t.impl()).second) return;
    auto& entry = known[t.storage()->id()];
    entry.first = t.storage().get();
    ++entry.second;
  };
  for (const Tensor& t : results) hold(t);
  for (const Leaf& l : program_->leaves) hold(autograd::meta_of(l.tensor)->grad);
  int kept = 0;
  std::lock_guard<std::mutex> lock(g_alive_mutex);
  for (const auto& [id, buffer] : buffers_) {
    if (!g_alive.count(id)) continue;
    const auto entry = known.find(id);
    kept += entry == known.end() || entry->second.first->use_count() > entry->second.second;
  }
  return kept;
}

int Recorder::set_scope(int scope) { return std::exchange(scope_, scope); }
int Recorder::set_region(int region) {
  return std::exchange(region_, region < 0 ? ++regions_ : region);
}

std::shared_ptr<Program> Recorder::finish(const TensorList& results) {
  t_recorder = nullptr;
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
  p.recorded = static_cast<int>(p.instructions.size());
  return std::move(program_);
}

}  // namespace annx::program
