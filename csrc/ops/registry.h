// The op registry: everything annx can compute is one OpDef. Bindings, stubs, docs, test sweeps and
// bench cases are derived from this table; read docs/adding-an-op.md beside it.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/small_vec.h"
#include "core/tensor.h"

namespace annx {

using Ints = InlineInts<16>;  // sizes, axes, or the pairs of pad
using TensorList = SmallVec<Tensor, 4>;

// One attribute of an op: what is not a tensor. Lists are shared by its copies: records and tapes hold
// thousands of attributes, few of them lists.
class Attr {
 public:
  enum class Kind : uint8_t { none, boolean, integer, real, ints, text, dtype };

  Attr() : kind_(Kind::none), integer_(0) {}
  Attr(bool v) : kind_(Kind::boolean), integer_(v) {}
  Attr(int v) : kind_(Kind::integer), integer_(v) {}
  Attr(int64_t v) : kind_(Kind::integer), integer_(v) {}
  Attr(double v) : kind_(Kind::real), real_(v) {}
  Attr(const Ints& v) : kind_(Kind::ints), list_(new List(v)) { list_->retain(); }
  Attr(const Dims& v) : Attr(Ints(v)) {}
  Attr(const char* interned) : kind_(Kind::text), text_(interned) {}
  Attr(DType v) : kind_(Kind::dtype), integer_(static_cast<int64_t>(v)) {}
  Attr(const Attr& o) : kind_(o.kind_), integer_(o.integer_) {
    if (kind_ == Kind::ints) (list_ = o.list_)->retain();
  }
  Attr(Attr&& o) noexcept : Attr() { swap(o); }
  Attr& operator=(Attr o) noexcept {
    swap(o);
    return *this;
  }
  ~Attr() {
    if (kind_ == Kind::ints) list_->release();
  }

  Kind kind() const { return kind_; }
  bool is_none() const { return kind_ == Kind::none; }
  bool b() const { return integer_ != 0; }
  int64_t i() const { return integer_; }
  double f() const { return kind_ == Kind::real ? real_ : static_cast<double>(integer_); }
  const Ints& ints() const { return kind_ == Kind::ints ? list_->values : no_ints(); }
  Dims dims() const { return Dims(ints()); }
  const char* text() const { return text_; }
  DType dtype() const { return static_cast<DType>(integer_); }

 private:
  struct List : RefCounted {
    explicit List(const Ints& v) : values(v) {}
    static void* operator new(size_t size) { return annx::allocate(size); }
    static void operator delete(void* p, size_t size) { annx::deallocate(p, size); }
    const Ints values;
  };

  static const Ints& no_ints();
  void swap(Attr& o) noexcept {
    std::swap(kind_, o.kind_);
    std::swap(bits_, o.bits_);
  }

  Kind kind_;
  union {
    int64_t integer_;
    double real_;
    const char* text_;
    List* list_;
    uint64_t bits_;
  };
};

using Attrs = SmallVec<Attr, 4>;

// Keeps a text attribute alive for ever, so that attributes stay plain values.
const char* intern(const char* text);

struct OpDef;

// One application of an op. Tensor-list parameters are flattened into inputs; an absent optional
// tensor is undefined.
struct OpCall {
  const OpDef* op = nullptr;
  TensorList inputs;
  Attrs attrs;
  TensorList outputs;
  const void* prepared = nullptr;  // what OpDef::prepare made for calls like this one

  const char* name() const;
  const Tensor& in(int i) const { return inputs[i]; }
  const Tensor& out(int i = 0) const { return outputs[i]; }
  bool has(int i) const { return i < inputs.size() && inputs[i].defined(); }
  const Attr& attr(int i) const { return attrs[i]; }
};

// What infer promises of one output, before anything is allocated.
struct OutputSpec {
  Dims shape;
  DType dtype = DType::f32;
  int alias = -1;  // index of the input whose storage it views, or -1 for fresh memory
  Dims strides{};  // in elements: of the view, or of fresh dense memory (empty: row-major)
  int64_t offset = 0;
  std::optional<Device> device{};  // of fresh memory; by default where the inputs are
};
using OutputSpecs = SmallVec<OutputSpec, 2>;

// Floating-point operations (a fused multiply-add counts two) and bytes read and written.
struct Cost {
  double flops = 0;
  double bytes = 0;
};

// What a gradient rule sees. Filled by the tape; rules are written in terms of ops, so that
// gradients of gradients follow.
class BackwardCall {
 public:
  virtual ~BackwardCall() = default;
  virtual int attr_count() const = 0;
  virtual const Attr& attr(int i) const = 0;
  // Gradient of output i; undefined when nothing flowed into it.
  virtual const Tensor& grad(int i = 0) const = 0;
  // Saved tensors: only those that the op's `saves` names.
  virtual Tensor input(int i) const = 0;
  virtual Tensor output(int i = 0) const = 0;
  virtual const Dims& input_shape(int i) const = 0;
  virtual DType input_dtype(int i) const = 0;
  virtual int input_count() const = 0;
  virtual bool needs(int i) const = 0;
  virtual void set(int i, Tensor grad) = 0;
};

// Bits of OpDef::saves.
constexpr uint32_t save_input(int i) { return 1u << i; }
constexpr uint32_t save_output(int i) { return 1u << (16 + i); }

enum OpFlags : uint32_t {
  kNone = 0,
  kPromote = 1u << 0,     // tensor inputs are brought to one dtype first
  kFloat = 1u << 1,       // integer and bool inputs become float32
  kHalfNative = 1u << 2,  // takes float16 and bfloat16 as they are (copies, views, indexing)
  kView = 1u << 3,        // the output shares memory with the input
  kMutates = 1u << 4,     // writes into inputs (optimizers, running statistics)
  kInternal = 1u << 5,    // reached through other ops only: not bound, not documented
  kNoMethod = 1u << 6,    // not a method of Tensor
  kNoCapture = 1u << 7,   // output shape depends on values
  kElementwise = 1u << 8,
  kPromoteTail = 1u << 9,  // as kPromote, leaving the first input alone (where's condition)
  kKeyed = 1u << 10,       // attribute 0 is a key of the random stream
  // The kernel writes outputs of any strides whose last dimension lies together, and never -0.
  kWritesParts = 1u << 11,
  kAnyDevice = 1u << 15,  // the kernel itself takes tensors of any device (transfers, fills)
};

struct OpDef {
  const char* name;
  // Python signature with types: "sum(Tensor input, int[]? dim=None, bool keepdim=False) -> Tensor".
  const char* signature;
  const char* doc;
  // Shape rule and checks: throws before anything is allocated.
  void (*infer)(const OpCall&, OutputSpecs&) = nullptr;
  // Computes outputs from inputs on the CPU.
  void (*kernel)(const OpCall&) = nullptr;
  // Vector-Jacobian product in terms of ops.
  void (*backward)(BackwardCall&) = nullptr;
  // Instead of infer + kernel + backward: the op in terms of other ops.
  TensorList (*composite)(const OpCall&) = nullptr;
  // Another op that gives the result of this call for less, after setting c up for it, or null. May
  // also replace attributes that stand for a setting by what the setting is.
  const OpDef* (*instead)(OpCall& c) = nullptr;
  // Left out: see op_cost. A composite with one counts by it instead of by its parts.
  Cost (*cost)(const OpCall&) = nullptr;
  uint32_t saves = 0;
  uint32_t flags = 0;
  // For many calls whose inputs named by `constant` (bit i: input i) stay the same, such as weights:
  // what the kernel would compute from those alone each time, or null where that saves nothing. Other
  // inputs have their shapes but no memory.
  std::shared_ptr<const void> (*prepare)(const OpCall& c, uint32_t constant) = nullptr;
};

inline const char* OpCall::name() const { return op->name; }

// What a call with inputs and outputs filled in costs: the op's own formula; nothing for a view; else
// one operation per element of the outputs, and every input read and every output written once.
Cost op_cost(const OpCall& c);
// For ops that only move elements: each element of the outputs is read and written, and index arrays
// (integer inputs beside the first) are read.
Cost move_cost(const OpCall& c);

// All registered ops, in the order of ops.def.
const std::vector<const OpDef*>& registry();
const OpDef* find_op(const char* name);

// A parameter of a signature, parsed.
struct Param {
  enum class Type : uint8_t { tensor, tensors, integer, integers, real, boolean, text, dtype };
  const char* name;
  Type type;
  bool optional = false;  // "?": None is allowed
  bool variadic = false;  // "int...": x.reshape(2, 3) as well as x.reshape((2, 3))
  bool keyword_only = false;
  bool has_default = false;
  Attr default_value;  // for tensors with a default: None
};

struct Signature {
  std::vector<Param> params;
  int outputs = 1;  // 0: nothing; -1: a tuple of any length; -2: a tensor or a tuple
  int required = 0;
};

// Parses OpDef::signature; throws on a malformed one (tested for every op).
Signature parse_signature(const OpDef& op);

}  // namespace annx
