// Drops instructions whose results nobody reads.
#include <algorithm>

#include "program/program.h"

namespace annx::program {

void remove_dead_code(Program& p) {
  std::vector<char> needed(p.buffers.size(), 0);
  for (size_t b = 0; b < p.buffers.size(); ++b)
    needed[b] = p.buffers[b].kind != Buffer::Kind::temporary;
  const auto buffer = [&](int value) {
    return static_cast<size_t>(p.values[static_cast<size_t>(value)].buffer);
  };
  std::vector<Instruction> kept;
  for (size_t at = p.instructions.size(); at-- > 0;) {
    Instruction& i = p.instructions[at];
    bool alive = i.host >= 0;
    for (int v : i.out) alive = alive || needed[buffer(v)];
    for (int b : i.writes) alive = alive || needed[static_cast<size_t>(b)];
    if (!alive) continue;
    for (int v : i.in)
      if (v >= 0) needed[buffer(v)] = 1;
    kept.push_back(std::move(i));
  }
  std::reverse(kept.begin(), kept.end());
  const size_t removed = p.instructions.size() - kept.size();
  p.instructions = std::move(kept);
  if (removed) p.notes.push_back({"dead code", std::to_string(removed) + " instructions removed"});
}

}  // namespace annx::program
