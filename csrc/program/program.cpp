#include "program/program.h"

#include "program/fused.h"

namespace annx::program {

bool is_dense(const Value& v) {
  // Each step takes the dimension whose stride is the size of what has been covered.
  int64_t covered = 1;
  for (bool found = true; found && covered < v.numel;) {
    found = false;
    for (int i = 0; i < v.shape.size() && !found; ++i) {
      found = v.shape[i] != 1 && v.strides[i] == covered;
      if (found) covered *= v.shape[i];
    }
  }
  return covered == v.numel;
}

int new_temporary(Program& p, const Dims& shape, DType dtype) {
  Value v;
  v.buffer = static_cast<int>(p.buffers.size());
  v.dtype = dtype;
  v.shape = v.strides = shape;
  v.numel = numel_of(shape);
  int64_t stride = 1;
  for (int d = shape.size() - 1; d >= 0; stride *= shape[d--]) v.strides[d] = stride;
  Buffer b;
  b.bytes = static_cast<size_t>(v.numel) * itemsize(dtype);
  p.buffers.push_back(std::move(b));
  p.values.push_back(std::move(v));
  return static_cast<int>(p.values.size()) - 1;
}

Lifetimes::Lifetimes(const Program& p) : first(p.buffers.size(), -1), last(p.buffers.size(), -1) {
  for (size_t at = 0; at < p.instructions.size(); ++at) {
    const Instruction& i = p.instructions[at];
    const auto touch = [&](int value) {
      if (value < 0) return;
      const auto b = static_cast<size_t>(p.values[static_cast<size_t>(value)].buffer);
      if (first[b] < 0) first[b] = static_cast<int>(at);
      last[b] = static_cast<int>(at);
    };
    for (int v : i.in) touch(v);
    for (int v : i.out) touch(v);
  }
}

Uses::Uses(const Program& p)
    : readers(p.buffers.size(), 0), maker(p.buffers.size(), -1), written(p.buffers.size(), 0) {
  const auto buffer = [&](int v) {
    return static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer);
  };
  for (size_t at = 0; at < p.instructions.size(); ++at) {
    const Instruction& i = p.instructions[at];
    for (int v : i.in)
      if (v >= 0) ++readers[buffer(v)];
    for (int b : i.writes) ++readers[static_cast<size_t>(b)], written[static_cast<size_t>(b)] = 1;
    for (int v : i.out) maker[buffer(v)] = static_cast<int>(at);
  }
}

void drop_instructions(Program& p, const std::vector<char>& gone) {
  std::vector<Instruction> kept;
  for (size_t at = 0; at < p.instructions.size(); ++at)
    if (!gone[at]) kept.push_back(std::move(p.instructions[at]));
  p.instructions = std::move(kept);
}

void optimize(Program& p) {
  remove_dead_code(p);
  merge_common_subexpressions(p);
  if (p.prepared)
    fold_constants(p);
  else
    compute_known(p);
  join_slices(p);
  place_parts(p);
  keep_derivatives(p);
  fuse_epilogues(p);
  share_dropout_masks(p);
  fold_combinations(p);
  fuse_elementwise(p);
  reuse_dying_inputs(p);
  plan_arena(p);
}

}  // namespace annx::program
