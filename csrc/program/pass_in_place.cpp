// Lets an elementwise result take the memory of an input that dies there.
#include "program/fused.h"

namespace annx::program {

namespace {

// Whether output o may be written over input v: no other view of that memory is read, and within a
// group no later member reads it.
bool may_overwrite(const Program& p, const Instruction& i, int v, int o) {
  const int buffer = p.values[static_cast<size_t>(v)].buffer;
  for (int other : i.in)
    if (other >= 0 && other != v && p.values[static_cast<size_t>(other)].buffer == buffer)
      return false;
  if (!i.fused) return true;
  bool written = false;
  for (const FusedNode& node : i.fused->nodes) {
    if (written)
      for (int id : node.in)
        if (id >= 0 && i.in[id] == v) return false;
    if (node.out >= 0 && i.out[node.out] == o) written = true;
  }
  return true;
}

}  // namespace

void reuse_dying_inputs(Program& p) {
  const Lifetimes life(p);
  std::vector<int> now(p.buffers.size());
  for (size_t b = 0; b < now.size(); ++b) now[b] = static_cast<int>(b);
  std::vector<int> last = life.last;
  size_t shared = 0;
  for (size_t at = 0; at < p.instructions.size(); ++at) {
    const Instruction& i = p.instructions[at];
    const bool elementwise = i.fused || (i.op && (i.op->flags & kElementwise));
    if (!elementwise) continue;
    for (int o : i.out) {
      const Value& out = p.values[static_cast<size_t>(o)];
      const auto ob = static_cast<size_t>(out.buffer);
      if (p.buffers[ob].kind != Buffer::Kind::temporary || now[ob] != out.buffer) continue;
      for (int v : i.in) {
        if (v < 0) continue;
        const Value& in = p.values[static_cast<size_t>(v)];
        const int ib = now[static_cast<size_t>(in.buffer)];
        const Buffer& from = p.buffers[static_cast<size_t>(ib)];
        if (from.kind != Buffer::Kind::temporary ||
            last[static_cast<size_t>(ib)] != static_cast<int>(at) ||
            from.bytes != p.buffers[ob].bytes || in.dtype != out.dtype || in.shape != out.shape ||
            in.strides != out.strides || in.offset != 0 || !may_overwrite(p, i, v, o))
          continue;
        now[ob] = ib;
        last[static_cast<size_t>(ib)] = life.last[ob];
        ++shared;
        break;
      }
    }
  }
  if (!shared) return;
  for (Value& v : p.values) v.buffer = now[static_cast<size_t>(v.buffer)];
  p.notes.push_back({"in place", std::to_string(shared) + " results take an input's memory"});
}

}  // namespace annx::program
