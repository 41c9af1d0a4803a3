// Gradients that are only written side by side are written there by those who make them, where their
// kernels can (kWritesParts).
#include "ops/shape/slices.h"
#include "program/program.h"

namespace annx::program {

namespace {

// Row-major `shape` as a view of the same elements that lie as `of` with `strides`. False where a
// dimension would reach over several of them.
bool split_dimensions(const Dims& of, const Dims& strides, const Dims& shape, Dims* split) {
  *split = shape;
  int at = shape.size() - 1;
  for (int d = of.size() - 1; d >= 0; --d) {
    int64_t covered = 1;
    for (; at >= 0 && (covered < of[d] || shape[at] == 1); --at) {
      (*split)[at] = strides[d] * covered;
      covered *= shape[at];
    }
    if (covered != of[d]) return false;
  }
  return at < 0;
}

class Placer {
 public:
  explicit Placer(Program& p)
      : p_(p), life_(p), uses_(p.buffers.size(), 0), maker_(p.buffers.size(), -1) {
    for (size_t at = 0; at < p.instructions.size(); ++at) {
      const Instruction& i = p.instructions[at];
      for (int v : i.in)
        if (v >= 0) ++uses_[buffer(v)];
      for (int b : i.writes) uses_[static_cast<size_t>(b)] += 2;
      for (int v : i.out) {
        const size_t b = buffer(v);
        maker_[b] = maker_[b] < 0 ? v : kSeveral;
      }
    }
  }

  void run() {
    std::vector<Instruction> kept;
    std::vector<char> gone;
    for (const Instruction& i : p_.instructions)
      gone.push_back(i.op == &slices_backward_def() && place(i));
    for (size_t at = 0; at < gone.size(); ++at)
      if (!gone[at]) kept.push_back(std::move(p_.instructions[at]));
    const size_t placed = gone.size() - kept.size();
    p_.instructions = std::move(kept);
    if (placed > 0) {
      p_.notes.push_back(
          {"slices", std::to_string(placed) + " of them by the ops that make the gradients"});
    }
  }

 private:
  static constexpr int kSeveral = -2;

  Value& value(int v) const { return p_.values[static_cast<size_t>(v)]; }
  size_t buffer(int v) const { return static_cast<size_t>(value(v).buffer); }

  // Whether a value is all of its buffer, row-major.
  bool is_whole(int v) const {
    const Value& x = value(v);
    return x.offset == 0 && is_contiguous_layout(x.shape, x.strides) &&
           static_cast<size_t>(x.numel) * itemsize(x.dtype) == p_.buffers[buffer(v)].bytes;
  }

  // The value, made by an op that may write elsewhere, whose memory v is read from here alone; or -1.
  int made_for(int v) const {
    const size_t b = buffer(v);
    const int made = maker_[b];
    if (made < 0 || p_.buffers[b].kind != Buffer::Kind::temporary || uses_[b] != 1 ||
        !is_whole(v) || !is_whole(made) || value(made).dtype != value(v).dtype)
      return -1;
    const Instruction& i = p_.instructions[static_cast<size_t>(life_.first[b])];
    return i.op && (i.op->flags & kWritesParts) ? made : -1;
  }

  bool place(const Instruction& sum) {
    const Value out = value(sum.out[0]);
    const size_t to = static_cast<size_t>(out.buffer);
    // Nothing else is there before.
    if (&p_.instructions[static_cast<size_t>(life_.first[to])] != &sum || maker_[to] < 0 ||
        !is_contiguous_layout(out.shape, out.strides))
      return false;
    const SlicesPlaced parts = slices_placed(sum.attrs);
    int64_t covered = 0;
    SmallVec<Value, 4> places;
    for (int k = 0; k < sum.in.size(); ++k) {
      const int64_t begin = parts.bounds[2 * k];
      covered += parts.bounds[2 * k + 1] - begin;
      const int made = made_for(sum.in[k]);
      if (made < 0) return false;
      Value place = value(made);
      place.buffer = out.buffer;
      place.offset = out.offset + begin * out.strides[parts.dim];
      const Value& part = value(sum.in[k]);
      if (!split_dimensions(part.shape, out.strides, value(made).shape, &place.strides) ||
          place.strides.size() == 0 || (place.strides.back() != 1 && place.shape.back() != 1))
        return false;
      places.push_back(place);
    }
    if (covered != out.shape[parts.dim]) return false;
    for (int k = 0; k < sum.in.size(); ++k) value(maker_[buffer(sum.in[k])]) = places[k];
    return true;
  }

  Program& p_;
  const Lifetimes life_;
  std::vector<int> uses_, maker_;  // by buffer: reads, and the value that is made there
};

}  // namespace

void place_parts(Program& p) { Placer(p).run(); }

}  // namespace annx::program
