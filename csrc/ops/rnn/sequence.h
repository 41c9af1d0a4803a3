// One direction of one recurrent layer over a whole sequence.
#pragma once

#include "ops/registry.h"
#include "ops/rnn/cell.h"

namespace annx::rnn {

// Inputs: x [T, B, I], or packed rows [R, I] with batch sizes; hx [B, P]?, cx [B, H]?, w_ih [G H, I],
// w_hh [G H, P], b_ih?, b_hh?, w_hr [P, H]?, batch_sizes [T]?. P is H without w_hr.
// Outputs, R = T B: y, h_n, c_n, gates [R, gates H] (lstm: what kernels.h says is kept, and c the
// same way), c [R, H], o tanh(c) (with w_hr only).
// Attributes: cell, reverse, and whether the last three are kept for all steps.
enum ForwardInput { kX, kHx, kCx, kWih, kWhh, kBih, kBhh, kWhr, kSizes };
enum ForwardOutput { kY, kHn, kCn, kGates, kC, kHidden };
extern const OpDef forward_def, packed_forward_def;  // without and with batch sizes

// Inputs: gradients of y, h_n and c_n, each optional; x, hx?, cx?, w_ih, w_hh, w_hr?, batch_sizes?;
// y, gates, c, o tanh(c) of forward.
// Outputs: gradients of x, hx, cx, w_ih, w_hh, b_ih, b_hh, w_hr; those not asked for are empty.
// Attributes: cell, reverse, which gradients are asked for (bit i: output i).
enum BackwardInput {
  kGy,
  kGhn,
  kGcn,
  kBx,
  kBhx,
  kBcx,
  kBwih,
  kBwhh,
  kBwhr,
  kBsizes,
  kBy,
  kBgates,
  kBc,
  kBhidden
};
enum BackwardOutput { kDx, kDhx, kDcx, kDwih, kDwhh, kDbih, kDbhh, kDwhr };
extern const OpDef backward_def;

// Sizes of a call, from its x, w_ih, w_hh, w_hr and batch sizes.
struct Sizes {
  Cell cell;
  int64_t input, hidden, output;
  Timeline time;
  int64_t gates() const { return buffer_gates(cell); }
  static Sizes of(Cell cell, bool reverse, const Tensor& x, const Tensor& w_hh, const Tensor& w_hr,
                  const Tensor& batch_sizes);
};

// The gradients as formulas on the tape: for gradients of gradients.
void differentiable_rule(BackwardCall& b);

}  // namespace annx::rnn
