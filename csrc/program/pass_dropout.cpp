// Draws the mask of a dropout once where its gradient asks for the same one: drawing costs several
// times what a byte per element does.
#include <unordered_map>

#include "ops/random/dropout.h"
#include "program/program.h"

namespace annx::program {

namespace {

bool row_major(const Value& v) {
  return v.dtype == DType::f32 && is_contiguous_layout(v.shape, v.strides);
}

}  // namespace

void share_dropout_masks(Program& p) {
  const DropoutOps& ops = dropout_ops();
  std::unordered_map<int, size_t> drawn;  // by draw: the last instruction that makes the mask
  size_t shared = 0;
  for (size_t at = 0; at < p.instructions.size(); ++at) {
    Instruction& i = p.instructions[at];
    if (i.op != ops.by_key || i.draw < 0) continue;
    const Value& in = p.values[static_cast<size_t>(i.in[0])];
    if (!row_major(in) || !row_major(p.values[static_cast<size_t>(i.out[0])])) continue;
    const auto known = drawn.find(i.draw);
    if (known != drawn.end()) {
      Instruction& maker = p.instructions[known->second];
      const Value& made = p.values[static_cast<size_t>(maker.out[0])];
      // What a checkpoint computes again draws again: its masks are not to live that long.
      const bool again = i.region != 0 && i.region != maker.region;
      if (!again && made.shape == in.shape && maker.attrs[1].f() == i.attrs[1].f()) {
        if (maker.op == ops.by_key) {
          const Dims shape = in.shape;
          const int mask = new_temporary(p, shape, DType::b8);
          maker.op = ops.and_mask;
          maker.out.push_back(mask);
        }
        i.op = ops.kept;
        i.attrs = {i.attrs[1]};
        i.in.push_back(maker.out[1]);
        i.draw = -1;
        ++shared;
        continue;
      }
    }
    drawn[i.draw] = at;
  }
  if (shared)
    p.notes.push_back({"dropout", std::to_string(shared) + " masks are kept for the gradient"});
}

}  // namespace annx::program
