// Takes out of a prepared program what depends on memory alone that no replay writes: weights in
// another dtype or layout, masks, positions. It is computed once (constants.h).
#include "program/constants.h"

namespace annx::program {

void fold_constants(Program& p) {
  const std::vector<char> constant_before = constant_buffers(p);
  if (constant_before.empty()) return;
  std::vector<char> constant = constant_before;
  std::vector<Instruction> kept;
  for (Instruction& i : p.instructions) {
    bool folds = i.op && i.writes.empty() && i.draw < 0 && !(i.op->flags & kKeyed);
    for (int v : i.in)
      folds = folds &&
              (v < 0 || constant[static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer)]);
    for (int v : i.out) {
      const auto b = static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer);
      folds = folds && p.buffers[b].kind == Buffer::Kind::temporary;
    }
    if (!folds) {
      kept.push_back(std::move(i));
      continue;
    }
    for (int v : i.out) {
      const auto b = static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer);
      p.buffers[b].kind = Buffer::Kind::constant;
      constant[b] = 1;
    }
    p.folded.push_back(std::move(i));
  }
  p.instructions = std::move(kept);
  if (!p.folded.empty())
    p.notes.push_back(
        {"constant folding", std::to_string(p.folded.size()) + " instructions computed once"});
}

}  // namespace annx::program
