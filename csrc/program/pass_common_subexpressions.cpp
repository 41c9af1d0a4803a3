// Computes once what is computed twice from the same values.
#include <bit>
#include <unordered_map>

#include "program/program.h"

namespace annx::program {

namespace {

bool same(const Attr& a, const Attr& b) {
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Attr::Kind::none:
      return true;
    case Attr::Kind::real:
      // By their bits: 0 and -0 give other results.
      return std::bit_cast<uint64_t>(a.f()) == std::bit_cast<uint64_t>(b.f());
    case Attr::Kind::text:
      return a.text() == b.text();  // interned
    case Attr::Kind::ints:
      return a.ints() == b.ints();
    default:
      return a.i() == b.i();
  }
}

bool same(const Instruction& a, const Instruction& b) {
  if (a.op != b.op || a.region != b.region || a.in.size() != b.in.size() ||
      a.out.size() != b.out.size() || a.attrs.size() != b.attrs.size())
    return false;
  for (int k = 0; k < a.in.size(); ++k)
    if (a.in[k] != b.in[k]) return false;
  for (int k = 0; k < a.attrs.size(); ++k)
    if (!same(a.attrs[k], b.attrs[k])) return false;
  return true;
}

bool whole_buffer(const Program& p, const Value& v) {
  return v.offset == 0 && static_cast<size_t>(v.numel) * itemsize(v.dtype) ==
                              p.buffers[static_cast<size_t>(v.buffer)].bytes;
}

}  // namespace

void merge_common_subexpressions(Program& p) {
  std::vector<char> written(p.buffers.size(), 0);
  for (const Instruction& i : p.instructions)
    for (int b : i.writes) written[static_cast<size_t>(b)] = 1;
  std::vector<int> buffer_now(p.buffers.size());
  for (size_t b = 0; b < buffer_now.size(); ++b) buffer_now[b] = static_cast<int>(b);
  // Values of a merged buffer become the same views of the buffer that stays.
  std::vector<int> value_now(p.values.size());
  for (size_t v = 0; v < value_now.size(); ++v) value_now[v] = static_cast<int>(v);
  const auto rename = [&](int from, int to) {
    buffer_now[static_cast<size_t>(from)] = to;
    for (size_t v = 0; v < p.values.size(); ++v) {
      if (p.values[v].buffer != from) continue;
      p.values[v].buffer = to;
      for (size_t w = 0; w < p.values.size(); ++w) {
        const Value &a = p.values[v], &b = p.values[w];
        if (w != v && b.buffer == to && a.offset == b.offset && a.dtype == b.dtype &&
            a.shape == b.shape && a.strides == b.strides) {
          value_now[v] = value_now[w];
          break;
        }
      }
    }
  };

  std::unordered_map<const OpDef*, std::vector<int>> seen;
  std::vector<Instruction> kept;
  for (Instruction& i : p.instructions) {
    if (i.host >= 0) seen.clear();  // it may write what was read before
    for (int& v : i.in)
      if (v >= 0) v = value_now[static_cast<size_t>(v)];
    for (int& v : i.out) v = value_now[static_cast<size_t>(v)];
    bool candidate = i.op && i.writes.empty() && !i.out.empty();
    for (int v : i.in)
      candidate = candidate &&
                  (v < 0 || !written[static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer)]);
    for (int v : i.out) {
      const Value& value = p.values[static_cast<size_t>(v)];
      candidate = candidate &&
                  p.buffers[static_cast<size_t>(value.buffer)].kind == Buffer::Kind::temporary &&
                  !written[static_cast<size_t>(value.buffer)] && whole_buffer(p, value);
    }
    if (candidate) {
      int twin = -1;
      for (int k : seen[i.op])
        if (same(kept[static_cast<size_t>(k)], i)) twin = k;
      if (twin >= 0) {
        for (int k = 0; k < i.out.size(); ++k)
          rename(p.values[static_cast<size_t>(i.out[k])].buffer,
                 p.values[static_cast<size_t>(kept[static_cast<size_t>(twin)].out[k])].buffer);
        continue;
      }
      seen[i.op].push_back(static_cast<int>(kept.size()));
    }
    kept.push_back(std::move(i));
  }
  const size_t removed = p.instructions.size() - kept.size();
  p.instructions = std::move(kept);
  for (int& v : p.results)
    if (v >= 0) v = value_now[static_cast<size_t>(v)];
  for (Leaf& l : p.leaves)
    if (l.value >= 0) l.value = value_now[static_cast<size_t>(l.value)];
  if (removed)
    p.notes.push_back({"common subexpressions", std::to_string(removed) + " instructions merged"});
}

}  // namespace annx::program
