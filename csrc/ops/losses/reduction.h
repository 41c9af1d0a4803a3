// The reduction argument of losses.
#pragma once

#include <cstring>

#include "ops/functional.h"

namespace annx {

enum class Reduction { none, mean, sum };

inline Reduction parse_reduction(const char* text, const char* op) {
  if (std::strcmp(text, "none") == 0) return Reduction::none;
  if (std::strcmp(text, "mean") == 0) return Reduction::mean;
  if (std::strcmp(text, "sum") == 0) return Reduction::sum;
  fail(ErrorKind::value, op, "expected reduction to be 'none', 'mean' or 'sum' but got '", text,
       "'");
}

inline Tensor reduce_loss(const Tensor& loss, Reduction r) {
  if (r == Reduction::none) return loss;
  return r == Reduction::mean ? ops::mean(loss) : ops::sum(loss);
}

}  // namespace annx
