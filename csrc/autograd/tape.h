// The tape: which op made which tensor, and the walk back over it. Holds no rule of any op.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "ops/call.h"

namespace annx::autograd {

class Node;
using TensorHook = std::function<Tensor(const Tensor&)>;  // returns undefined to keep the gradient

struct HookList {
  int next_id = 0;
  std::vector<std::pair<int, TensorHook>> hooks;
};

// Where a gradient goes: output `output_nr` of a node, or a leaf tensor.
struct Edge {
  Ref<Node> node;
  int output_nr = 0;
  Tensor leaf;
  bool valid() const { return node || leaf.defined(); }
};

class Node : public RefCounted {
 public:
  Node();
  virtual const char* name() const = 0;
  // Gradients for each edge (undefined where none flows).
  virtual TensorList apply(const TensorList& grads) = 0;
  // Drops what was saved for the gradient.
  virtual void release_saved() = 0;
  // Drops what a checkpoint made anew for the gradient; it can be made again.
  virtual void drop_remade() {}

  std::vector<Edge> edges;
  uint64_t sequence;  // creation order: consumers always come after producers
  int output_count = 1;
  HookList* hooks_of(int output_nr);

  static void* operator new(size_t size);
  static void operator delete(void* p, size_t size);

 private:
  friend struct Walk;
  friend struct Meta;
  friend void retain_grad(const Tensor& t);
  std::vector<std::pair<int, std::unique_ptr<HookList>>> hooks_;
  std::vector<std::pair<int, struct Meta*>> retained_;  // metas that asked for their gradient
  struct Walk* walk_ = nullptr;                         // the walk this node is queued in
  TensorList pending_;
};

struct Meta : GradMeta {
  ~Meta() override;
  Ref<Node> grad_fn;  // null for leaves
  int output_nr = 0;
  Tensor grad;
  std::unique_ptr<HookList> hooks;  // of a leaf
  bool retains_grad = false;
};

// Starts listening to ops. Called once at start-up.
void install();

// Called on this thread ahead of every look at a leaf's grad, or when it is replaced unseen: the
// recorder of a captured step.
using GradObserver = void (*)(const Tensor& leaf, bool replaced);
void set_grad_observer(GradObserver observer);
void note_grad_use(const Tensor& leaf, bool replaced = false);

Meta* meta_of(const Tensor& t);  // null when t has none
Meta& ensure_meta(const Tensor& t);
inline bool is_leaf(const Tensor& t) { return !meta_of(t) || !meta_of(t)->grad_fn; }
void set_requires_grad(const Tensor& t, bool requires_grad);
void retain_grad(const Tensor& t);
// Adds a hook on the gradient of t; remove_hook undoes it.
int add_hook(const Tensor& t, TensorHook hook);
void remove_hook(const Tensor& t, int id);

// Adds the gradients of outputs with respect to all leaves to the leaves' grad.
void backward(const TensorList& outputs, TensorList grad_outputs, bool retain_graph,
              bool create_graph);
// The gradients of outputs with respect to inputs, leaving grad alone. Undefined where an input
// does not take part.
TensorList grad(const TensorList& outputs, const TensorList& inputs, TensorList grad_outputs,
                bool retain_graph, bool create_graph);

// Attaches outputs to the graph with a gradient rule given as a function.
using BackwardFunction = std::function<TensorList(const TensorList& grads)>;
TensorList custom_function(const char* name, const TensorList& inputs, const TensorList& outputs,
                           BackwardFunction rule);

}  // namespace annx::autograd
