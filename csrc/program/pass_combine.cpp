// Moves sums and products of two tensors into the op that makes one of them, where that can read the
// other while its result is still in registers: a residual added to what linear gives, the derivative
// of an activation multiplied to linear's gradient, gradients that meet.
#include "ops/defs.h"
#include "ops/matmul/linear.h"
#include "ops/normalization/backward.h"
#include "ops/random/dropout.h"
#include "program/program.h"

namespace annx::program {

namespace {

bool row_major(const Value& v) {
  return (v.dtype == DType::f32 || v.dtype == DType::f64) &&
         is_contiguous_layout(v.shape, v.strides);
}

class Combiner {
 public:
  explicit Combiner(Program& p) : p_(p), uses_(p), gone_(p.instructions.size(), 0) {}

  void run() {
    size_t sums = 0, products = 0;
    for (size_t at = 0; at < p_.instructions.size(); ++at) {
      Instruction& i = p_.instructions[at];
      if (i.op == &def::add)
        sums += fold(i, at);
      else if (i.op == &def::mul)
        products += fold(i, at);
    }
    if (sums + products == 0) return;
    drop_instructions(p_, gone_);
    if (sums) note(sums, " sums computed by the op that makes a term");
    if (products) note(products, " products computed by the op that makes a factor");
  }

 private:
  const Value& value(int v) const { return p_.values[static_cast<size_t>(v)]; }
  size_t buffer(int v) const { return static_cast<size_t>(value(v).buffer); }

  void note(size_t count, const char* what) {
    p_.notes.push_back({"epilogues", std::to_string(count) + what});
  }

  bool fold(const Instruction& i, size_t at) {
    const Value& out = value(i.out[0]);
    for (int v : i.in)
      if (!row_major(value(v)) || value(v).shape != out.shape || value(v).dtype != out.dtype)
        return false;
    // The later of the two is the one whose maker can read the other.
    return i.in[0] != i.in[1] && (take(i, at, i.in[0], i.in[1]) || take(i, at, i.in[1], i.in[0]));
  }

  // Lets the maker of `made`, which nobody else reads, read `other`, which is there before it.
  bool take(const Instruction& i, size_t at, int made, int other) {
    const size_t b = buffer(made);
    const int from = uses_.maker[b];
    if (from < 0 || p_.buffers[b].kind != Buffer::Kind::temporary || uses_.readers[b] != 1 ||
        uses_.written[b] || uses_.written[buffer(other)] || uses_.maker[buffer(other)] >= from)
      return false;
    // The host may write what is read earlier now.
    for (size_t between = static_cast<size_t>(from); between < at; ++between)
      if (p_.instructions[between].host >= 0) return false;
    Instruction& maker = p_.instructions[static_cast<size_t>(from)];
    if (maker.out[0] != made || maker.region != i.region || !admit(maker, i.op == &def::add, other))
      return false;
    maker.out[0] = i.out[0];
    uses_.maker[buffer(i.out[0])] = from;
    gone_[at] = 1;
    return true;
  }

  static bool admit(Instruction& maker, bool add, int other) {
    const LinearOps& linear = linear_ops();
    if (maker.op == linear.plain && add) {
      maker.op = linear.add;
      while (maker.in.size() < 3) maker.in.push_back(-1);
      maker.in.push_back(other);
      return true;
    }
    if (maker.op == linear.backward && maker.in.size() == 5) {
      maker.attrs[4] = Attr(intern(add ? "add" : "mul"));
      maker.in.push_back(other);
      return true;
    }
    if (maker.op == dropout_ops().and_mask && add && maker.in.size() == 1) {
      maker.in.push_back(other);
      return true;
    }
    const int norm = maker.op == &layer_norm_backward_def() ? 5
                     : maker.op == &rms_norm_backward_def() ? 4
                                                            : 0;
    if (norm == 0 || !add || maker.in.size() != norm) return false;
    maker.in.push_back(other);
    return true;
  }

  Program& p_;
  Uses uses_;
  std::vector<char> gone_;
};

}  // namespace

void fold_combinations(Program& p) { Combiner(p).run(); }

}  // namespace annx::program
