// The gradients of slices of one tensor, each padded with zeros and all added up, are written side by
// side instead.
#include <algorithm>

#include "ops/defs.h"
#include "ops/shape/slices.h"
#include "program/program.h"

namespace annx::program {

namespace {

constexpr int kMostBounds = 16;  // what an attribute holds

class Joiner {
 public:
  explicit Joiner(Program& p)
      : p_(p),
        readers_(p.buffers.size(), 0),
        maker_(p.buffers.size(), -1),
        gone_(p.instructions.size(), 0) {
    for (size_t at = 0; at < p.instructions.size(); ++at) {
      const Instruction& i = p.instructions[at];
      for (int v : i.in)
        if (v >= 0) ++readers_[buffer(v)];
      for (int b : i.writes) readers_[static_cast<size_t>(b)] += 2;
      for (int v : i.out) maker_[buffer(v)] = static_cast<int>(at);
    }
  }

  void run() {
    for (size_t at = 0; at < p_.instructions.size(); ++at) visit(at);
    if (joined_ == 0) return;
    std::vector<Instruction> kept;
    for (size_t at = 0; at < p_.instructions.size(); ++at)
      if (!gone_[at]) kept.push_back(std::move(p_.instructions[at]));
    p_.instructions = std::move(kept);
    p_.notes.push_back(
        {"slices", std::to_string(joined_) + " sums of padded gradients are written side by side"});
  }

 private:
  const Value& value(int v) const { return p_.values[static_cast<size_t>(v)]; }
  size_t buffer(int v) const { return static_cast<size_t>(value(v).buffer); }

  // What instruction `at` puts where, or nothing.
  bool parts_of(int at, SlicesPlaced* parts) const {
    const Instruction& i = p_.instructions[static_cast<size_t>(at)];
    if (i.op == &slices_backward_def()) {
      *parts = slices_placed(i.attrs);
      return true;
    }
    return i.op == &def::slice_backward && slice_placed(i.attrs, value(i.out[0]).shape, parts);
  }

  // The padded gradient that makes v for one reader, or -1.
  int padded(int v, int region) const {
    const size_t b = buffer(v);
    const int at = maker_[b];
    if (at < 0 || p_.buffers[b].kind != Buffer::Kind::temporary || readers_[b] != 1) return -1;
    const Instruction& i = p_.instructions[static_cast<size_t>(at)];
    return i.region == region && i.out[0] == v ? at : -1;
  }

  bool is_written(int v) const {
    for (const Instruction& i : p_.instructions)
      for (int b : i.writes)
        if (static_cast<size_t>(b) == buffer(v)) return true;
    return false;
  }

  void visit(size_t at) {
    Instruction& sum = p_.instructions[at];
    if (sum.op != &def::add) return;
    const Value& out = value(sum.out[0]);
    if ((out.dtype != DType::f32 && out.dtype != DType::f64) ||
        !is_contiguous_layout(out.shape, out.strides))
      return;
    SlicesPlaced all;
    Ids inputs;
    for (int v : sum.in) {
      const int from = padded(v, sum.region);
      SlicesPlaced parts;
      if (from < 0 || value(v).shape != out.shape || value(v).dtype != out.dtype ||
          !parts_of(from, &parts) || (all.bounds.size() > 0 && parts.dim != all.dim))
        return;
      if (all.bounds.size() + parts.bounds.size() > kMostBounds) return;
      all.dim = parts.dim;
      for (int64_t bound : parts.bounds) all.bounds.push_back(bound);
      for (int in : p_.instructions[static_cast<size_t>(from)].in) inputs.push_back(in);
    }
    if (!slices_apart(all)) return;
    // The parts are read where the sum stands, later than before.
    for (int v : inputs)
      if (is_written(v)) return;
    for (int v : sum.in) gone_[static_cast<size_t>(maker_[buffer(v)])] = 1;
    sum.op = &slices_backward_def();
    const Dims shape = out.shape;
    sum.attrs = {Attr(shape), Attr(all.dim), Attr(all.bounds)};
    sum.in = inputs;
    ++joined_;
  }

  Program& p_;
  std::vector<int> readers_, maker_;
  std::vector<char> gone_;
  size_t joined_ = 0;
};

}  // namespace

void join_slices(Program& p) { Joiner(p).run(); }

}  // namespace annx::program
