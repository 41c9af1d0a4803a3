// A group of elementwise instructions that runs tile by tile: what flows between its members stays
// in the cache.
#pragma once

#include "ops/elementwise/driver.h"
#include "program/program.h"

namespace annx::program {

struct FusedNode {
  const OpDef* op = nullptr;  // for explain
  ElementwisePlan plan;
  SmallVec<int, 4> in;  // k >= 0: operand k of the group; -1 - n: the result of node n
  int out = -1;         // output of the group, or -1: only other members read it
  int slot = -1;        // tile buffer of a result that is not an output
};

struct FusedOperand {
  size_t size = 4;  // of an element
  Dims strides;     // over the shape of the group
  bool linear = false, scalar = false;
};

// Iterates in the memory order of the outputs: shape has the dimensions in that order.
struct FusedGroup {
  Dims shape;
  std::vector<FusedNode> nodes;
  std::vector<FusedOperand> operands;
  std::vector<size_t> output_sizes;
  int slots = 0;
  double work = 0;  // of an element, as run_elementwise's
};

// The inputs of c are the operands, its outputs the outputs of the group.
void run_fused(const FusedGroup& group, const OpCall& c);

}  // namespace annx::program
