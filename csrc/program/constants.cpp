#include "program/constants.h"

#include <algorithm>

#include "ops/call.h"

namespace annx::program {

std::vector<char> constant_buffers(const Program& p) {
  std::vector<char> constant(p.buffers.size(), 0);
  for (size_t b = 0; b < p.buffers.size(); ++b)
    constant[b] =
        p.buffers[b].kind == Buffer::Kind::external || p.buffers[b].kind == Buffer::Kind::constant;
  for (const Instruction& i : p.instructions) {
    if (i.host >= 0) return {};
    for (int b : i.writes) constant[static_cast<size_t>(b)] = 0;
  }
  return constant;
}

Constants::Constants(std::shared_ptr<const Program> program)
    : program_(std::move(program)), constant_(constant_buffers(*program_)) {
  const Program& p = *program_;
  if (constant_.empty()) return;
  const auto reads = [&](const Instruction& i) {
    for (int v : i.in) {
      if (v < 0) continue;
      const auto b = static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer);
      const Ref<Storage>& storage = p.buffers[b].storage;
      if (constant_[b] && storage && std::find(read_.begin(), read_.end(), storage) == read_.end())
        read_.push_back(storage);
    }
  };
  for (const Instruction& i : p.folded) reads(i);
  for (const Instruction& i : p.instructions)
    if (i.op && i.op->prepare) reads(i);
}

bool Constants::holds(const Made& made) const {
  if (made.age != age_.load(std::memory_order_acquire)) return false;
  for (size_t k = 0; k < read_.size(); ++k)
    if (read_[k]->version() != made.versions[k]) return false;
  return true;
}

std::shared_ptr<const Constants::Made> Constants::of_now(const std::shared_ptr<const Made>& last) {
  if (last && holds(*last)) return last;
  std::lock_guard<ForkMutex> lock(mutex_);
  if (!made_ || !holds(*made_)) made_ = make();
  return made_;
}

void Constants::forget() { age_.fetch_add(1, std::memory_order_acq_rel); }

std::shared_ptr<const Constants::Made> Constants::make() const {
  const Program& p = *program_;
  auto made = std::make_shared<Made>();
  made->age = age_.load(std::memory_order_acquire);
  for (const Ref<Storage>& storage : read_) made->versions.push_back(storage->version());
  made->folded.resize(p.buffers.size());
  made->prepared.resize(p.instructions.size());
  const Ref<Storage> nothing = Storage::wrap(nullptr, 0, Device(), [] {});
  const auto tensor = [&](int id) {
    if (id < 0) return Tensor();
    const Value& v = p.values[static_cast<size_t>(id)];
    const auto b = static_cast<size_t>(v.buffer);
    const Buffer& buffer = p.buffers[b];
    if (buffer.kind == Buffer::Kind::constant) {
      if (!made->folded[b]) made->folded[b] = Storage::allocate(buffer.bytes);
      return Tensor::from_storage(made->folded[b], v.shape, v.strides, v.dtype, v.offset);
    }
    if (constant_[b])
      return Tensor::from_storage(buffer.storage, v.shape, v.strides, v.dtype, v.offset);
    return Tensor::from_storage(nothing, v.shape, v.strides, v.dtype);
  };
  const auto call_of = [&](const Instruction& i) {
    OpCall c;
    c.op = i.op;
    c.attrs = i.attrs;
    for (int v : i.in) c.inputs.push_back(tensor(v));
    for (int v : i.out) c.outputs.push_back(tensor(v));
    return c;
  };
  const GradModeGuard no_grad(false);
  const ObserverPause unseen;
  for (const Instruction& i : p.folded) i.op->kernel(call_of(i));
  for (size_t at = 0; at < p.instructions.size(); ++at) {
    const Instruction& i = p.instructions[at];
    if (!i.op || !i.op->prepare) continue;
    uint32_t mask = 0;
    for (int k = 0; k < i.in.size() && k < 32; ++k) {
      const int v = i.in[k];
      if (v >= 0 && constant_[static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer)])
        mask |= uint32_t{1} << k;
    }
    if (mask) made->prepared[at] = i.op->prepare(call_of(i), mask);
  }
  return made;
}

}  // namespace annx::program
