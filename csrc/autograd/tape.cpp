#include "autograd/tape.h"

#include <algorithm>
#include <atomic>
#include <queue>

#include "autograd/checkpoint.h"
#include "core/allocator.h"
#include "ops/functional.h"

namespace annx::autograd {

namespace {
std::atomic<uint64_t> g_sequence{0};
}

Node::Node() : sequence(g_sequence.fetch_add(1, std::memory_order_relaxed)) {}
void* Node::operator new(size_t size) { return annx::allocate(size); }
void Node::operator delete(void* p, size_t size) { annx::deallocate(p, size); }

HookList* Node::hooks_of(int output_nr) {
  for (auto& [nr, list] : hooks_)
    if (nr == output_nr) return list.get();
  hooks_.emplace_back(output_nr, std::make_unique<HookList>());
  return hooks_.back().second.get();
}

Meta::~Meta() {
  if (retains_grad && grad_fn) {
    auto& list = grad_fn->retained_;
    std::erase_if(list, [this](const auto& entry) { return entry.second == this; });
  }
  // A long chain of nodes is unlinked step by step: recursion would overflow the stack.
  std::vector<Ref<Node>> chain;
  if (grad_fn && grad_fn->use_count() == 1) chain.push_back(std::move(grad_fn));
  while (!chain.empty()) {
    Ref<Node> node = std::move(chain.back());
    chain.pop_back();
    if (node->use_count() != 1) continue;
    node->release_saved();
    for (Edge& e : node->edges)
      if (e.node && e.node->use_count() == 1) chain.push_back(std::move(e.node));
  }
}

Meta* meta_of(const Tensor& t) { return static_cast<Meta*>(t.impl()->grad_meta.get()); }

Meta& ensure_meta(const Tensor& t) {
  if (!t.impl()->grad_meta) t.impl()->grad_meta = make_ref<Meta>();
  return *meta_of(t);
}

void set_requires_grad(const Tensor& t, bool requires_grad) {
  ANNX_CHECK(!requires_grad || is_floating(t.dtype()), runtime, "requires_grad",
             "expected a floating dtype but got ", t.dtype());
  ANNX_CHECK(requires_grad || is_leaf(t), runtime, "requires_grad",
             "expected a leaf tensor: use detach() to stop gradients of a computed one");
  if (!requires_grad && !meta_of(t)) return;
  ensure_meta(t).requires_grad = requires_grad;
}

void retain_grad(const Tensor& t) {
  ANNX_CHECK(t.requires_grad(), runtime, "retain_grad", "expected a tensor that requires grad");
  Meta& m = *meta_of(t);
  if (!m.grad_fn || m.retains_grad) return;
  m.retains_grad = true;
  m.grad_fn->retained_.emplace_back(m.output_nr, &m);
}

int add_hook(const Tensor& t, TensorHook hook) {
  ANNX_CHECK(t.requires_grad(), runtime, "register_hook", "expected a tensor that requires grad");
  Meta& m = *meta_of(t);
  if (!m.grad_fn && !m.hooks) m.hooks = std::make_unique<HookList>();
  HookList* list = m.grad_fn ? m.grad_fn->hooks_of(m.output_nr) : m.hooks.get();
  list->hooks.emplace_back(list->next_id, std::move(hook));
  return list->next_id++;
}

void remove_hook(const Tensor& t, int id) {
  Meta* m = meta_of(t);
  if (!m) return;
  HookList* list = m->grad_fn ? m->grad_fn->hooks_of(m->output_nr) : m->hooks.get();
  if (list) std::erase_if(list->hooks, [id](const auto& h) { return h.first == id; });
}

namespace {

Edge edge_to(const Tensor& t) {
  if (!t.defined() || !t.requires_grad()) return {};
  Meta* m = meta_of(t);
  if (m->grad_fn) return {m->grad_fn, m->output_nr, Tensor()};
  return {nullptr, 0, t};
}

void attach(const Tensor& t, const Ref<Node>& node, int output_nr) {
  Meta& m = ensure_meta(t);
  m.requires_grad = true;
  m.grad_fn = node;
  m.output_nr = output_nr;
}

struct SavedTensor {
  Tensor tensor;
  uint32_t version = 0;
};

// A recorded op.
class OpNode final : public Node {
 public:
  explicit OpNode(const OpCall& c) : op_(*c.op), attrs_(c.attrs) {
    output_count = c.outputs.size();
    edges.reserve(static_cast<size_t>(c.inputs.size()));
    uint32_t kept = op_.saves;
    if (Checkpoint* checkpoint = Checkpoint::current()) {
      remade_ = checkpoint->remade(c);
      kept &= ~remade_;
      ticket_ = checkpoint->take_ticket(&op_, remade_);
      if (remade_) checkpoint_ = Ref<Checkpoint>(checkpoint);
    }
    for (int i = 0; i < c.inputs.size(); ++i) {
      const Tensor& t = c.inputs[i];
      edges.push_back(edge_to(t));
      inputs_.emplace_back();
      InputRecord& r = inputs_.back();
      if (!t.defined()) continue;
      r.shape = t.shape();
      r.dtype = t.dtype();
      if (i < 16 && (kept & save_input(i))) {
        r.saved.tensor = t;
        r.saved.version = t.storage()->version();
      }
    }
    for (int i = 0; i < c.outputs.size(); ++i) {
      outputs_.emplace_back();
      if (kept & save_output(i)) {
        // A fresh view: holding the output itself would be a cycle.
        outputs_.back().tensor = c.outputs[i].detach();
        outputs_.back().version = c.outputs[i].storage()->version();
      }
    }
  }

  ~OpNode() override {
    if (checkpoint_) checkpoint_->forget(ticket_);
  }

  const char* name() const override { return op_.name; }
  void drop_remade() override {
    if (checkpoint_) checkpoint_->drop(ticket_);
  }
  void release_saved() override {
    released_ = true;
    if (checkpoint_) checkpoint_->forget(ticket_);
    checkpoint_ = nullptr;
    for (InputRecord& r : inputs_) r.saved.tensor = Tensor();
    for (SavedTensor& s : outputs_) s.tensor = Tensor();
  }
  TensorList apply(const TensorList& grads) override {
    ANNX_CHECK(!released_, runtime, op_.name,
               "expected the graph of the first backward but it has been freed: pass "
               "retain_graph=True to go through it twice");
    TensorList result;
    result.resize(inputs_.size());
    Context context(*this, grads, result);
    op_.backward(context);
    return result;
  }

 private:
  struct InputRecord {
    Dims shape;
    DType dtype = DType::f32;
    SavedTensor saved;
  };

  class Context final : public BackwardCall {
   public:
    Context(OpNode& node, const TensorList& grads, TensorList& result)
        : node_(node), grads_(grads), result_(result) {}
    int attr_count() const override { return node_.attrs_.size(); }
    const Attr& attr(int i) const override { return node_.attrs_[i]; }
    const Tensor& grad(int i) const override { return grads_[i]; }
    Tensor input(int i) const override {
      if (!remade(save_input(i))) return unpack(node_.inputs_[i].saved);
      const InputRecord& r = node_.inputs_[i];
      Tensor t = node_.checkpoint_->recall(node_.ticket_, save_input(i));
      ANNX_CHECK(t.shape() == r.shape && t.dtype() == r.dtype, runtime, "checkpoint",
                 "expected the function to do the same when it runs again for the gradient but ",
                 node_.op_.name, " got shape ", t.shape(), " instead of ", r.shape);
      const Edge& edge = node_.edges[static_cast<size_t>(i)];
      if (!grad_enabled() || !edge.node) return t;
      t = t.detach();
      attach(t, edge.node, edge.output_nr);
      return t;
    }
    Tensor output(int i) const override {
      Tensor t = remade(save_output(i)) ? node_.checkpoint_->recall(node_.ticket_, save_output(i))
                                        : unpack(node_.outputs_[i]);
      if (grad_enabled()) {
        t = t.detach();
        attach(t, Ref<Node>(&node_), i);
      }
      return t;
    }
    const Dims& input_shape(int i) const override { return node_.inputs_[i].shape; }
    DType input_dtype(int i) const override { return node_.inputs_[i].dtype; }
    int input_count() const override { return node_.inputs_.size(); }
    bool needs(int i) const override { return node_.edges[static_cast<size_t>(i)].valid(); }
    void set(int i, Tensor grad) override { result_[i] = std::move(grad); }

   private:
    bool remade(uint32_t bit) const { return (node_.remade_ & bit) != 0; }
    Tensor unpack(const SavedTensor& s) const {
      ANNX_CHECK(!s.tensor.defined() || s.tensor.storage()->version() == s.version, runtime,
                 node_.op_.name,
                 "expected a tensor saved for the gradient to be unchanged but it "
                 "was written to after it was used");
      return s.tensor;
    }
    OpNode& node_;
    const TensorList& grads_;
    TensorList& result_;
  };

  const OpDef& op_;
  Attrs attrs_;
  SmallVec<InputRecord, 3> inputs_;
  SmallVec<SavedTensor, 1> outputs_;
  // What the checkpoint makes anew instead of this node keeping it: bits as in OpDef::saves.
  Ref<Checkpoint> checkpoint_;
  int ticket_ = -1;
  uint32_t remade_ = 0;
  bool released_ = false;
};

class FunctionNode final : public Node {
 public:
  FunctionNode(const char* name, BackwardFunction rule) : name_(name), rule_(std::move(rule)) {}
  const char* name() const override { return name_; }
  void release_saved() override { rule_ = nullptr; }
  TensorList apply(const TensorList& grads) override {
    ANNX_CHECK(rule_, runtime, name_,
               "expected the graph of the first backward but it has been freed: pass "
               "retain_graph=True to go through it twice");
    return rule_(grads);
  }

 private:
  const char* name_;
  BackwardFunction rule_;
};

void record(OpCall& c) {
  Ref<Node> node(new OpNode(c));
  for (int i = 0; i < c.outputs.size(); ++i)
    if (is_floating(c.outputs[i].dtype())) attach(c.outputs[i], node, i);
  Checkpoint::recorded(c);
}

void add_into(Tensor& slot, const Tensor& grad) {
  slot = slot.defined() ? ops::add(slot, grad) : grad;
}

Tensor run_hooks(const HookList* list, Tensor grad) {
  if (!list) return grad;
  for (size_t i = 0; i < list->hooks.size(); ++i) {
    Tensor replaced = list->hooks[i].second(grad);
    if (replaced.defined()) grad = std::move(replaced);
  }
  return grad;
}

}  // namespace

void install() { set_tape_hook(record); }

namespace {
thread_local GradObserver t_grad_observer = nullptr;
}
void set_grad_observer(GradObserver observer) { t_grad_observer = observer; }
void note_grad_use(const Tensor& leaf, bool replaced) {
  if (!t_grad_observer) return;
  ensure_meta(leaf);
  t_grad_observer(leaf, replaced);
}

// One walk over the graph, from the last op to the first.
struct Walk {
  struct Later {
    bool operator()(const Ref<Node>& a, const Ref<Node>& b) const {
      return a->sequence < b->sequence;
    }
  };
  std::priority_queue<Ref<Node>, std::vector<Ref<Node>>, Later> queue;
  std::vector<std::pair<Tensor, Tensor>> leaves;  // leaf and what has flowed into it
  std::vector<std::pair<Edge, Tensor>> wanted;    // intermediate tensors whose gradient is asked
  bool create_graph = false;
  bool retain_graph = false;
  Checkpoint::Recalls recalls;

  ~Walk() {  // an error on the way must not leave marks behind
    while (!queue.empty()) {
      queue.top()->walk_ = nullptr;
      queue.top()->pending_.clear();
      queue.pop();
    }
  }

  void send(const Edge& edge, const Tensor& grad) {
    if (!grad.defined() || !edge.valid()) return;
    if (!edge.node) {
      for (auto& [leaf, total] : leaves)
        if (leaf.is_same(edge.leaf)) return add_into(total, grad);
      leaves.emplace_back(edge.leaf, grad);
      return;
    }
    Node& node = *edge.node;
    ANNX_CHECK(!node.walk_ || node.walk_ == this, runtime, "backward",
               "expected a graph that is not being walked already (backward called inside a hook "
               "of the same graph)");
    if (!node.walk_) {
      node.walk_ = this;
      node.pending_.resize(node.output_count);
      queue.push(edge.node);
    }
    add_into(node.pending_[edge.output_nr], grad);
  }

  void run() {
    GradModeGuard mode(create_graph);
    while (!queue.empty()) {
      Ref<Node> node = queue.top();
      queue.pop();
      node->walk_ = nullptr;
      TensorList grads = std::move(node->pending_);
      node->pending_.clear();
      for (auto& [nr, hooks] : node->hooks_)
        if (grads[nr].defined()) grads[nr] = run_hooks(hooks.get(), grads[nr]);
      for (auto& [nr, meta] : node->retained_)
        if (grads[nr].defined()) add_into(meta->grad, grads[nr]);
      for (auto& [edge, total] : wanted)
        if (edge.node == node && grads[edge.output_nr].defined()) total = grads[edge.output_nr];
      bool any = false;
      for (const Tensor& g : grads) any = any || g.defined();
      if (!any) continue;
      const TensorList out = node->apply(grads);
      for (size_t i = 0; i < node->edges.size(); ++i)
        if (static_cast<int>(i) < out.size()) send(node->edges[i], out[static_cast<int>(i)]);
      retain_graph ? node->drop_remade() : node->release_saved();
    }
    for (auto& [leaf, total] : leaves)
      if (meta_of(leaf)->hooks) total = run_hooks(meta_of(leaf)->hooks.get(), total);
  }
};

namespace {

void start(Walk& walk, const TensorList& outputs, const TensorList& grad_outputs) {
  for (int i = 0; i < outputs.size(); ++i) {
    const Tensor& y = outputs[i];
    ANNX_CHECK(y.requires_grad(), runtime, "backward",
               "expected an output that requires grad but tensor ", i, " of shape ", y.shape(),
               " was computed without any input that does");
    Tensor g = i < grad_outputs.size() ? grad_outputs[i] : Tensor();
    if (!g.defined()) {
      ANNX_CHECK(y.numel() == 1, runtime, "backward",
                 "expected a scalar output or a gradient argument but got shape ", y.shape());
      g = ops::ones_like(y);
      g.impl()->known_one = true;
    }
    ANNX_CHECK(g.shape() == y.shape(), runtime, "backward", "expected a gradient of shape ",
               y.shape(), " but got ", g.shape());
    walk.send(edge_to(y), ops::cast(g, y.dtype()));
  }
}

}  // namespace

void backward(const TensorList& outputs, TensorList grad_outputs, bool retain_graph,
              bool create_graph) {
  Walk walk;
  walk.create_graph = create_graph;
  walk.retain_graph = retain_graph || create_graph;
  start(walk, outputs, grad_outputs);
  walk.run();
  GradModeGuard mode(create_graph);
  for (auto& [leaf, total] : walk.leaves) {
    Meta& m = *meta_of(leaf);
    note_grad_use(leaf);
    add_into(m.grad, ops::contiguous(total));
  }
}

TensorList grad(const TensorList& outputs, const TensorList& inputs, TensorList grad_outputs,
                bool retain_graph, bool create_graph) {
  Walk walk;
  walk.create_graph = create_graph;
  walk.retain_graph = retain_graph || create_graph;
  for (const Tensor& t : inputs) {
    ANNX_CHECK(t.requires_grad(), runtime, "grad",
               "expected inputs that require grad but got one of shape ", t.shape(),
               " that does not");
    if (meta_of(t)->grad_fn) walk.wanted.emplace_back(edge_to(t), Tensor());
  }
  start(walk, outputs, grad_outputs);
  walk.run();
  TensorList result;
  size_t next = 0;
  for (const Tensor& t : inputs) {
    Tensor g;
    if (meta_of(t)->grad_fn) {
      g = walk.wanted[next++].second;
    } else {
      for (auto& [leaf, total] : walk.leaves)
        if (leaf.is_same(t)) g = total;
    }
    result.push_back(g);
  }
  return result;
}

TensorList custom_function(const char* name, const TensorList& inputs, const TensorList& outputs,
                           BackwardFunction rule) {
  Ref<Node> node(new FunctionNode(intern(name), std::move(rule)));
  bool any = false;
  for (const Tensor& t : inputs) {
    node->edges.push_back(edge_to(t));
    any = any || node->edges.back().valid();
  }
  node->output_count = outputs.size();
  TensorList result;
  for (int i = 0; i < outputs.size(); ++i) {
    Tensor t = outputs[i].detach();
    if (any && grad_enabled() && is_floating(t.dtype())) attach(t, node, i);
    result.push_back(std::move(t));
  }
  return result;
}

}  // namespace annx::autograd
