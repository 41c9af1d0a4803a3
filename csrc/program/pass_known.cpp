// Computes once what depends on nothing but numbers: the gradient that a mean hands on, positions,
// masks of attention.
#include "ops/call.h"
#include "program/program.h"

namespace annx::program {

namespace {

constexpr size_t kNumberBytes = 16;            // of a number that Python gave
constexpr size_t kMaxBytes = size_t{1} << 20;  // of a result that is kept for it

}  // namespace

void compute_known(Program& p) {
  std::vector<int> makers(p.buffers.size(), 0);
  for (const Instruction& i : p.instructions) {
    for (int v : i.out) ++makers[static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer)];
    for (int b : i.writes) makers[static_cast<size_t>(b)] += 2;
  }
  for (size_t b = 0; b < p.buffers.size(); ++b) {
    Buffer& buffer = p.buffers[b];
    buffer.number = buffer.kind == Buffer::Kind::external && makers[b] == 0 &&
                    buffer.storage->use_count() == 1 && buffer.storage->bytes() <= kNumberBytes;
  }
  const auto buffer_of = [&](int v) -> size_t {
    return static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer);
  };
  const auto tensor = [&](int v) {
    if (v < 0) return Tensor();
    const Value& value = p.values[static_cast<size_t>(v)];
    return Tensor::from_storage(p.buffers[buffer_of(v)].storage, value.shape, value.strides,
                                value.dtype, value.offset);
  };
  const GradModeGuard no_grad(false);
  const ObserverPause unseen;  // passes may run while something else is recorded
  std::vector<Instruction> kept;
  for (Instruction& i : p.instructions) {
    bool known = i.op && i.writes.empty() && i.draw < 0 && !(i.op->flags & (kKeyed | kMutates));
    for (int v : i.in) known = known && (v < 0 || p.buffers[buffer_of(v)].number);
    for (int v : i.out) {
      const Buffer& b = p.buffers[buffer_of(v)];
      known = known && b.kind == Buffer::Kind::temporary && makers[buffer_of(v)] == 1 &&
              b.bytes <= kMaxBytes;
    }
    if (!known) {
      kept.push_back(std::move(i));
      continue;
    }
    OpCall c;
    c.op = i.op;
    c.attrs = i.attrs;
    for (int v : i.in) c.inputs.push_back(tensor(v));
    for (int v : i.out) {
      Buffer& b = p.buffers[buffer_of(v)];
      b.kind = Buffer::Kind::external;
      b.number = true;
      b.storage = Storage::allocate(b.bytes);
      c.outputs.push_back(tensor(v));
    }
    i.op->kernel(c);
  }
  const size_t removed = p.instructions.size() - kept.size();
  p.instructions = std::move(kept);
  if (removed)
    p.notes.push_back({"known numbers", std::to_string(removed) + " instructions computed once"});
}

}  // namespace annx::program
