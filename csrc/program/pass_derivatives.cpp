// Computes the derivative of an activation or loss beside its value where the gradient asks for it: the
// exponentials in them are the same, and the gradient becomes one multiplication.
#include <unordered_map>

#include "ops/defs.h"
#include "ops/kept.h"
#include "program/program.h"

namespace annx::program {

namespace {

bool row_major(const Value& v) {
  return (v.dtype == DType::f32 || v.dtype == DType::f64) &&
         is_contiguous_layout(v.shape, v.strides);
}

}  // namespace

void keep_derivatives(Program& p) {
  const auto value = [&](int v) -> const Value& { return p.values[static_cast<size_t>(v)]; };
  std::vector<int> readers(p.buffers.size(), 0);
  std::vector<char> written(p.buffers.size(), 0);
  std::unordered_map<int, std::vector<size_t>> gradients;  // by the value that they read
  std::vector<const KeptDerivative*> known = {&kept_bce_logits()};
  for (int k = 0; k < kKeptActivations; ++k) known.push_back(kept_activations() + k);
  for (size_t at = 0; at < p.instructions.size(); ++at) {
    const Instruction& i = p.instructions[at];
    for (int v : i.in)
      if (v >= 0) ++readers[static_cast<size_t>(value(v).buffer)];
    for (int b : i.writes) written[static_cast<size_t>(b)] = 1;
    for (const KeptDerivative* k : known)
      if (i.op && i.op == k->backward) gradients[i.in[1]].push_back(at);
  }
  size_t kept = 0;
  for (size_t at = 0; at < p.instructions.size() && !gradients.empty(); ++at) {
    const Instruction& forward = p.instructions[at];
    const KeptDerivative* known_op = nullptr;
    for (const KeptDerivative* k : known)
      if (forward.op && forward.op == k->forward) known_op = k;
    if (!known_op) continue;
    const int x = forward.in[0], y = forward.out[0];
    const auto found = gradients.find(x);
    const auto buffer = static_cast<size_t>(value(x).buffer);
    // The derivative takes the place of the input in memory, so nobody else may need that.
    if (found == gradients.end() || written[buffer] ||
        p.buffers[buffer].kind != Buffer::Kind::temporary ||
        readers[buffer] != 1 + static_cast<int>(found->second.size()) || !row_major(value(x)) ||
        !row_major(value(y)))
      continue;
    bool fits = true;
    for (int v : forward.in)
      fits = fits && row_major(value(v)) && value(v).shape == value(x).shape &&
             value(v).dtype == value(x).dtype;
    for (size_t reader : found->second) {
      const Instruction& i = p.instructions[reader];
      const Value &g = value(i.in[0]), &out = value(i.out[0]);
      fits = fits && reader > at && i.op == known_op->backward && i.region == forward.region &&
             g.shape == value(x).shape && g.dtype == value(x).dtype && out.dtype == value(x).dtype;
      // What the derivative reads beside x is what the value reads.
      for (int k = 1; k < forward.in.size(); ++k)
        fits = fits && i.in[k + 1] == forward.in[k] &&
               !written[static_cast<size_t>(value(forward.in[k]).buffer)];
    }
    if (!fits) continue;
    const Dims shape = value(x).shape;
    const int derivative = new_temporary(p, shape, value(x).dtype);
    p.instructions[at].op = known_op->both;
    p.instructions[at].out.push_back(derivative);
    for (size_t reader : found->second) {
      Instruction& i = p.instructions[reader];
      i.op = &def::mul;
      i.attrs = {};
      i.in = {derivative, i.in[0]};
    }
    ++kept;
  }
  if (kept)
    p.notes.push_back({"derivatives", std::to_string(kept) + " ops keep theirs for the gradient"});
}

}  // namespace annx::program
