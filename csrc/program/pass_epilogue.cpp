// Moves activations into the ops they belong to. Forward, a product, a convolution or a norm followed
// by relu becomes that op with that activation. Backward, relu's gradient followed by linear_backward
// becomes the latter with that activation: it makes one pass over its gradient anyway. The kernels give
// the same bits.
#include <cstring>

#include "program/program.h"

namespace annx::program {

namespace {

struct Fusible {
  const char *op, *backward, *activation;  // the elementwise ops, and linear's name for them
};
constexpr Fusible kFusible[] = {{"relu", "relu_backward", "relu"},
                                {"sigmoid", "sigmoid_backward", "sigmoid"},
                                {"tanh", "tanh_backward", "tanh"},
                                {"gelu_erf", "gelu_erf_backward", "gelu"},
                                {"gelu_tanh", "gelu_tanh_backward", "gelu_tanh"},
                                {"silu", "silu_backward", "silu"}};

// Ops that compute an activation of their first output, and which attribute names it; it comes last in
// norms, which are recorded without.
struct Host {
  const char* op;
  int attribute;
};
constexpr Host kHosts[] = {{"linear", 0},
                           {"convolution", 6},
                           {"batch_norm_forward", 3},
                           {"group_norm_forward", 3},
                           {"instance_norm_forward", 3},
                           {"layer_norm_forward", 2},
                           {"rms_norm_forward", 2}};

const Host* host_of(const Instruction& i) {
  for (const Host& host : kHosts)
    if (i.op && std::strcmp(i.op->name, host.op) == 0) return &host;
  return nullptr;
}

class Epilogues {
 public:
  explicit Epilogues(Program& p) : p_(p), uses_(p), gone_(p.instructions.size(), 0) {}

  void run() {
    size_t forward = 0, backward = 0;
    for (Instruction& i : p_.instructions)
      if (i.op && std::strcmp(i.op->name, "linear_backward") == 0) backward += fold_gradient(i);
    for (size_t at = 0; at < p_.instructions.size(); ++at) forward += fold_activation(at);
    if (forward + backward == 0) return;
    drop_instructions(p_, gone_);
    if (forward) note(forward, " activations computed by the op before them");
    if (backward) note(backward, " gradients of activations computed by linear's");
  }

 private:
  const Value& value(int v) const { return p_.values[static_cast<size_t>(v)]; }
  size_t buffer(int v) const { return static_cast<size_t>(value(v).buffer); }

  void note(size_t count, const char* what) {
    p_.notes.push_back({"epilogues", std::to_string(count) + what});
  }

  // The instruction that makes v for one reader only, or -1.
  int sole_maker(int v) const {
    const size_t b = buffer(v);
    const bool sole = p_.buffers[b].kind == Buffer::Kind::temporary && uses_.readers[b] == 1;
    return sole ? uses_.maker[b] : -1;
  }

  static bool take(Instruction& maker, const char* activation) {
    const Host* host = host_of(maker);
    if (!host) return false;
    if (maker.attrs.size() == host->attribute) maker.attrs.push_back(Attr("none"));
    if (std::strcmp(maker.attrs[host->attribute].text(), "none") != 0) return false;
    maker.attrs[host->attribute] = Attr(intern(activation));
    return true;
  }

  bool fold_activation(size_t at) {
    Instruction& i = p_.instructions[at];
    if (!i.op || i.in.size() != 1) return false;
    for (const Fusible& f : kFusible) {
      if (std::strcmp(i.op->name, f.op) != 0) continue;
      const int from = sole_maker(i.in[0]);
      if (from < 0) return false;
      Instruction& maker = p_.instructions[static_cast<size_t>(from)];
      const Value &before = value(i.in[0]), &after = value(i.out[0]);
      if (maker.out[0] != i.in[0] || maker.region != i.region || before.offset != after.offset ||
          before.strides != after.strides || !take(maker, f.activation))
        return false;
      // What is read by the maker must not change on the way: parameters are written at the end,
      // so moving the maker down to the activation would be wrong, moving this up is not.
      maker.out[0] = i.out[0];
      uses_.maker[buffer(i.out[0])] = from;
      gone_[at] = 1;
      return true;
    }
    return false;
  }

  // linear_backward reads (g, x, weight, bias, saved), the gradient before it (g, saved).
  bool fold_gradient(Instruction& product) {
    const int from = sole_maker(product.in[0]);
    if (from < 0 || std::strcmp(product.attrs[0].text(), "none") != 0) return false;
    const Instruction& i = p_.instructions[static_cast<size_t>(from)];
    if (!i.op || i.in.size() != 2 || i.out[0] != product.in[0] || i.region != product.region)
      return false;
    // The inputs are read later than before.
    for (int v : i.in)
      if (uses_.written[buffer(v)] || value(v).dtype != value(product.in[0]).dtype ||
          value(v).shape != value(product.in[0]).shape)
        return false;
    for (const Fusible& f : kFusible) {
      if (std::strcmp(i.op->name, f.backward) != 0) continue;
      for (const Instruction* later = &i; later != &product; ++later)
        if (later->host >= 0) return false;
      product.attrs[0] = Attr(intern(f.activation));
      product.in[0] = i.in[0];
      product.in[4] = i.in[1];
      gone_[static_cast<size_t>(from)] = 1;
      return true;
    }
    return false;
  }

  Program& p_;
  Uses uses_;
  std::vector<char> gone_;
};

}  // namespace

void fuse_epilogues(Program& p) { Epilogues(p).run(); }

bool computes_activations(const Instruction& i) { return host_of(i) != nullptr; }

}  // namespace annx::program
