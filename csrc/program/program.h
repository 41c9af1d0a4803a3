// A captured step: flat instructions over a table of values, which are views of buffers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/registry.h"

namespace annx::program {

// Memory that a program reads or writes.
struct Buffer {
  enum class Kind : uint8_t {
    temporary,  // lives within a replay, in the arena
    result,     // handed out or left in a leaf's grad: memory of its own
    argument,   // of the call
    gradient,   // the grad a leaf has when the call begins
    external,   // parameters, state, constants: the storage seen at capture
    constant    // computed once from externals
  };
  Kind kind = Kind::temporary;
  int index = -1;          // of the argument or leaf
  size_t bytes = 0;        // of temporaries and results
  int64_t base = 0;        // elements: where the argument or gradient began in its storage
  Ref<Storage> storage{};  // of externals
  size_t offset = 0;       // in the arena
  bool number = false;     // of externals: nobody else knows this memory, so it keeps its values
};

// A tensor: a view of a buffer.
struct Value {
  int buffer = -1;
  DType dtype = DType::f32;
  int64_t offset = 0;  // in elements
  int64_t numel = 0;
  Dims shape, strides;
};

using Ids = SmallVec<int, 4>;

struct FusedGroup;

struct Instruction {
  const OpDef* op = nullptr;  // null for a call of the host and for a fused group
  Attrs attrs{};
  Ids in{}, out{};  // values; -1 for an absent input
  Ids writes{};     // buffers that the op writes besides its outputs
  int scope = -1;   // of the host's table of module paths
  int draw = -1;    // which drawn random counter is attribute 0
  int region = 0;   // recomputed parts are not merged with what they recompute
  int host = -1;    // function of the host to call here
  std::shared_ptr<const FusedGroup> fused{};
};

// A leaf whose grad the step looks at or changes.
struct Leaf {
  static constexpr int kNone = -1, kAny = -2;
  Tensor tensor;
  int entry = kAny;  // value its grad has at the start, kNone when there must be none
  enum class Change : uint8_t { none, cleared, set } change = Change::none;
  int value = -1;  // its grad at the end
  Tensor had{};    // during capture: its grad at the start
};

// A leaf from outside as it was at capture.
struct Watched {
  explicit Watched(const Tensor& leaf);
  bool unchanged() const;
  Tensor tensor;
  uint64_t storage;
  int64_t offset;
  Dims shape, strides;
  bool requires_grad;
  uint64_t hooks;  // tells lists of hooks apart
};

// Counts what may have changed leaves: writes of requires_grad, of hooks and of data.
uint64_t leaf_changes();
void note_leaf_change();

struct PassNote {
  std::string pass, text;
};

struct Program {
  std::vector<Buffer> buffers;
  std::vector<Value> values;
  std::vector<Instruction> instructions;
  std::vector<Instruction> folded;  // run once, before any replay
  std::vector<Leaf> leaves;
  std::vector<int> results;   // values; -1 for an undefined one
  std::vector<char> tracked;  // per result: whether it required grad
  std::vector<Watched> watched;
  mutable uint64_t watched_at = 0;  // leaf_changes() when they were last looked at
  std::vector<int> arguments;       // values: what the arguments looked like
  std::vector<int> aliases;         // per argument: the earlier one that is the same memory, or -1
  std::vector<std::function<void()>> hosts;
  int draws = 0;  // random counters of a call
  size_t arena_bytes = 0;
  size_t live_bytes = 0;  // largest sum of temporaries alive at once
  int recorded = 0;       // instructions before the passes
  bool prepared = false;  // for many calls: what depends on externals alone is kept
  std::vector<PassNote> notes;
};

// Bytes from the first to the last element of a value, in elements.
int64_t extent_of(const Dims& shape, const Dims& strides);

// Whether the value covers its elements without gaps, in some order of its dimensions.
bool is_dense(const Value& v);

// A new temporary of a shape, row-major, as a value.
int new_temporary(Program& p, const Dims& shape, DType dtype);

// Position of the last instruction that reads or writes each buffer, and of the first that does.
struct Lifetimes {
  explicit Lifetimes(const Program& p);
  std::vector<int> first, last;
};

// Of each buffer: how many inputs and writes touch it, the last instruction that makes it as an output
// (or -1), and whether any instruction writes it besides its outputs.
struct Uses {
  explicit Uses(const Program& p);
  std::vector<int> readers, maker;
  std::vector<char> written;
};

// Drops the instructions whose entry in `gone` is set.
void drop_instructions(Program& p, const std::vector<char>& gone);

// The passes, in the order in which they run: each in a file of its own.
void remove_dead_code(Program& p);
void merge_common_subexpressions(Program& p);
void fold_constants(Program& p);  // of prepared programs
void compute_known(Program& p);   // of all others
void keep_derivatives(Program& p);
void join_slices(Program& p);
void place_parts(Program& p);
void fuse_epilogues(Program& p);
bool computes_activations(const Instruction& i);  // an op that fuse_epilogues gives activations to
void share_dropout_masks(Program& p);
void fold_combinations(Program& p);
void fuse_elementwise(Program& p);
void reuse_dying_inputs(Program& p);

// Gives every temporary its place in the arena.
void plan_arena(Program& p);

// All of the above.
void optimize(Program& p);

}  // namespace annx::program
