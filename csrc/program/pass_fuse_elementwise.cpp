// Joins elementwise instructions of one shape that feed each other or read the same tensors.
#include <algorithm>

#include "program/fused.h"

namespace annx::program {

namespace {

constexpr size_t kMaxNodes = 24;
constexpr size_t kMaxOperands = 16;

// A group that may still grow. It will run where its last member stands.
struct Open {
  std::vector<int> members;  // instructions, in order
  std::vector<int> read;     // buffers
  std::vector<int> made;     // values
  Dims shape, strides;       // of every output
};

class Fuser {
 public:
  explicit Fuser(Program& p) : p_(p), group_of_(p.instructions.size(), -1) {}

  void run() {
    for (size_t at = 0; at < p_.instructions.size(); ++at) visit(static_cast<int>(at));
    for (Open& g : groups_) finish(g);
    rebuild();
  }

 private:
  const Value& value(int id) const { return p_.values[static_cast<size_t>(id)]; }
  const Instruction& instruction(int at) const { return p_.instructions[static_cast<size_t>(at)]; }

  bool fusible(const Instruction& i) const {
    if (!i.op || !(i.op->flags & kElementwise) || i.out.size() != 1 || i.in.empty() ||
        i.in.size() > kMaxElementwiseInputs || !i.writes.empty())
      return false;
    const Value& out = value(i.out[0]);
    return out.numel > 1 && out.offset == 0 && is_dense(out);
  }

  bool made_by(const Open& g, int v) const {
    return std::find(g.made.begin(), g.made.end(), v) != g.made.end();
  }
  bool reads(const Open& g, int buffer) const {
    return std::find(g.read.begin(), g.read.end(), buffer) != g.read.end();
  }
  bool made_buffer(const Open& g, int buffer) const {
    return std::any_of(g.made.begin(), g.made.end(),
                       [&](int v) { return value(v).buffer == buffer; });
  }

  // Closes the groups that i does not let wait until later.
  void close_for(const Instruction& i, const std::vector<size_t>& except) {
    for (size_t k = 0; k < open_.size();) {
      const Open& g = groups_[open_[k]];
      bool close = i.host >= 0;  // it may write what the group reads
      if (std::find(except.begin(), except.end(), open_[k]) == except.end()) {
        for (int v : i.in) close = close || (v >= 0 && made_buffer(g, value(v).buffer));
        for (int b : i.writes) close = close || reads(g, b) || made_buffer(g, b);
      }
      if (close)
        open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(k));
      else
        ++k;
    }
  }

  void visit(int at) {
    const Instruction& i = instruction(at);
    if (!fusible(i)) return close_for(i, {});
    const Value& out = value(i.out[0]);
    std::vector<size_t> join;
    for (size_t id : open_) {
      const Open& g = groups_[id];
      if (g.shape != out.shape || g.strides != out.strides) continue;
      bool related = false, clean = true;
      for (int v : i.in) {
        const bool member = made_by(g, v);
        related = related || member || (value(v).numel > 1 && reads(g, value(v).buffer));
        clean = clean && (member || !made_buffer(g, value(v).buffer));
      }
      size_t nodes = g.members.size() + 1, operands = g.read.size() + 4;
      for (size_t j : join) nodes += groups_[j].members.size(), operands += groups_[j].read.size();
      if (related && clean && nodes <= kMaxNodes && operands <= kMaxOperands) join.push_back(id);
    }
    close_for(i, join);
    if (join.empty()) {
      join.push_back(groups_.size());
      open_.push_back(groups_.size());
      groups_.push_back({{}, {}, {}, out.shape, out.strides});
    }
    Open& g = groups_[join[0]];
    for (size_t k = 1; k < join.size(); ++k) {
      Open& other = groups_[join[k]];
      g.members.insert(g.members.end(), other.members.begin(), other.members.end());
      g.read.insert(g.read.end(), other.read.begin(), other.read.end());
      g.made.insert(g.made.end(), other.made.begin(), other.made.end());
      other = Open();
      std::erase(open_, join[k]);
    }
    g.members.push_back(at);
    std::sort(g.members.begin(), g.members.end());
    for (int v : i.in)
      if (!made_by(g, v)) g.read.push_back(value(v).buffer);
    g.made.push_back(i.out[0]);
  }

  // The dimensions of the group's outputs from the slowest in memory to the fastest.
  std::vector<int> memory_order(const Open& g) const {
    std::vector<int> order(static_cast<size_t>(g.shape.size()));
    for (size_t d = 0; d < order.size(); ++d) order[d] = static_cast<int>(d);
    std::sort(order.begin(), order.end(), [&](int a, int b) {
      const bool unit_a = g.shape[a] == 1, unit_b = g.shape[b] == 1;
      if (unit_a != unit_b) return unit_a;
      if (!unit_a && g.strides[a] != g.strides[b]) return g.strides[a] > g.strides[b];
      return a < b;
    });
    return order;
  }

  Tensor stand_in(const Value& v) const {
    return Tensor::from_storage(nothing_, v.shape, v.strides, v.dtype, 0);
  }

  void finish(Open& g) {
    if (g.members.size() < 2) return;
    auto group = std::make_shared<FusedGroup>();
    const std::vector<int> order = memory_order(g);
    for (int d : order) group->shape.push_back(g.shape[d]);
    Instruction fused;
    fused.scope = instruction(g.members.back()).scope;
    std::vector<int> outs;
    for (int at : g.members) {
      const Instruction& i = instruction(at);
      OpCall c;
      c.op = i.op;
      c.attrs = i.attrs;
      for (int v : i.in) c.inputs.push_back(stand_in(value(v)));
      c.outputs.push_back(stand_in(value(i.out[0])));
      FusedNode node;
      node.op = i.op;
      node.plan = elementwise_plan(c);
      if (!node.plan.fn) return;
      group->work += std::max(node.plan.work, 0.1);
      for (int v : i.in) node.in.push_back(operand(*group, fused, outs, order, v));
      outs.push_back(i.out[0]);
      if (read_elsewhere(g, i.out[0])) {
        node.out = fused.out.size();
        fused.out.push_back(i.out[0]);
        group->output_sizes.push_back(itemsize(value(i.out[0]).dtype));
      }
      group->nodes.push_back(std::move(node));
    }
    assign_slots(*group);
    fused.fused = std::move(group);
    const auto id = static_cast<int>(fused_.size());
    for (int at : g.members) group_of_[static_cast<size_t>(at)] = id;
    fused_.push_back({g.members.back(), std::move(fused)});
  }

  int operand(FusedGroup& group, Instruction& fused, const std::vector<int>& outs,
              const std::vector<int>& order, int v) const {
    for (size_t n = 0; n < outs.size(); ++n)
      if (outs[n] == v) return -1 - static_cast<int>(n);
    for (int k = 0; k < fused.in.size(); ++k)
      if (fused.in[k] == v) return k;
    const Value& from = value(v);
    FusedOperand o;
    o.size = itemsize(from.dtype);
    const int lead = static_cast<int>(order.size()) - from.shape.size();
    for (int d : order)
      o.strides.push_back(d < lead || from.shape[d - lead] == 1 ? 0 : from.strides[d - lead]);
    o.linear = is_contiguous_layout(group.shape, o.strides);
    o.scalar = from.numel == 1;
    group.operands.push_back(o);
    fused.in.push_back(v);
    return fused.in.size() - 1;
  }

  // Whether anything but the members of g needs value v in memory.
  bool read_elsewhere(const Open& g, int v) const {
    const int buffer = value(v).buffer;
    if (p_.buffers[static_cast<size_t>(buffer)].kind != Buffer::Kind::temporary) return true;
    for (size_t at = 0; at < p_.instructions.size(); ++at) {
      if (std::binary_search(g.members.begin(), g.members.end(), static_cast<int>(at))) continue;
      for (int in : p_.instructions[at].in)
        if (in >= 0 && value(in).buffer == buffer) return true;
      for (int b : p_.instructions[at].writes)
        if (b == buffer) return true;
    }
    return false;
  }

  // Results that stay inside share tile buffers once they have been read for the last time.
  static void assign_slots(FusedGroup& group) {
    std::vector<int> last(group.nodes.size(), -1), free;
    for (size_t n = 0; n < group.nodes.size(); ++n)
      for (int id : group.nodes[n].in)
        if (id < 0) last[static_cast<size_t>(-1 - id)] = static_cast<int>(n);
    for (size_t n = 0; n < group.nodes.size(); ++n) {
      FusedNode& node = group.nodes[n];
      if (node.out < 0) {
        if (free.empty()) {
          node.slot = group.slots++;
        } else {
          node.slot = free.back();
          free.pop_back();
        }
      }
      for (size_t m = 0; m < n; ++m)
        if (group.nodes[m].slot >= 0 && last[m] == static_cast<int>(n))
          free.push_back(group.nodes[m].slot);
    }
  }

  void rebuild() {
    if (fused_.empty()) return;
    std::vector<Instruction> kept;
    size_t joined = 0;
    for (size_t at = 0; at < p_.instructions.size(); ++at) {
      const int g = group_of_[at];
      if (g < 0) {
        kept.push_back(std::move(p_.instructions[at]));
        continue;
      }
      ++joined;
      if (fused_[static_cast<size_t>(g)].first == static_cast<int>(at))
        kept.push_back(std::move(fused_[static_cast<size_t>(g)].second));
    }
    p_.instructions = std::move(kept);
    p_.notes.push_back({"elementwise fusion", std::to_string(joined) + " instructions in " +
                                                  std::to_string(fused_.size()) + " groups"});
  }

  Program& p_;
  std::vector<Open> groups_;
  std::vector<size_t> open_;
  std::vector<int> group_of_;
  std::vector<std::pair<int, Instruction>> fused_;
  Ref<Storage> nothing_ = Storage::wrap(nullptr, 0, Device(), [] {});
};

}  // namespace

void fuse_elementwise(Program& p) { Fuser(p).run(); }

}  // namespace annx::program
