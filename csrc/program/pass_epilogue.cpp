// Moves an activation into the product before it: linear followed by relu becomes linear with that
// activation, whose kernel gives the same bits.
#include <cstring>

#include "program/program.h"

namespace annx::program {

namespace {

// The name that linear knows an elementwise op by, or null.
const char* activation_of(const OpDef& op) {
  constexpr const char* pairs[][2] = {{"relu", "relu"},           {"sigmoid", "sigmoid"},
                                      {"tanh", "tanh"},           {"gelu_erf", "gelu"},
                                      {"gelu_tanh", "gelu_tanh"}, {"silu", "silu"}};
  for (const auto& pair : pairs)
    if (std::strcmp(op.name, pair[0]) == 0) return intern(pair[1]);
  return nullptr;
}

}  // namespace

void fuse_epilogues(Program& p) {
  const OpDef* const linear = find_op("linear");
  std::vector<int> readers(p.buffers.size(), 0), maker(p.buffers.size(), -1);
  for (size_t at = 0; at < p.instructions.size(); ++at) {
    const Instruction& i = p.instructions[at];
    for (int v : i.in)
      if (v >= 0) ++readers[static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer)];
    for (int b : i.writes) ++readers[static_cast<size_t>(b)];
    for (int v : i.out)
      maker[static_cast<size_t>(p.values[static_cast<size_t>(v)].buffer)] = static_cast<int>(at);
  }
  std::vector<char> gone(p.instructions.size(), 0);
  size_t fused = 0;
  for (size_t at = 0; at < p.instructions.size(); ++at) {
    Instruction& i = p.instructions[at];
    const char* activation = i.op && i.in.size() == 1 ? activation_of(*i.op) : nullptr;
    if (!activation) continue;
    const Value& in = p.values[static_cast<size_t>(i.in[0])];
    const auto b = static_cast<size_t>(in.buffer);
    if (p.buffers[b].kind != Buffer::Kind::temporary || readers[b] != 1 || maker[b] < 0) continue;
    Instruction& product = p.instructions[static_cast<size_t>(maker[b])];
    if (product.op != linear || product.out[0] != i.in[0] || product.region != i.region ||
        std::strcmp(product.attrs[0].text(), "none") != 0)
      continue;
    // What is read by the product must not change on the way: parameters are written at the end,
    // so moving the product down to the activation would be wrong, moving this up is not.
    product.attrs[0] = Attr(activation);
    product.out[0] = i.out[0];
    maker[static_cast<size_t>(p.values[static_cast<size_t>(i.out[0])].buffer)] = maker[b];
    gone[at] = 1;
    ++fused;
  }
  if (!fused) return;
  std::vector<Instruction> kept;
  for (size_t at = 0; at < p.instructions.size(); ++at)
    if (!gone[at]) kept.push_back(std::move(p.instructions[at]));
  p.instructions = std::move(kept);
  p.notes.push_back({"epilogues", std::to_string(fused) + " activations computed by the product"});
}

}  // namespace annx::program
