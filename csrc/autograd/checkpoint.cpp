#include "autograd/checkpoint.h"

#include <bit>
#include <optional>
#include <utility>

#include "autograd/tape.h"

namespace annx::autograd {

struct Checkpoint::Place {
  Place(Checkpoint& c, bool second) : checkpoint(c), again(second), outer(t_place) {
    t_place = this;
  }
  ~Place() { t_place = outer; }
  Place(const Place&) = delete;

  Checkpoint& checkpoint;
  bool again;
  Place* outer;
};

thread_local Checkpoint::Place* Checkpoint::t_place = nullptr;

namespace {

thread_local Checkpoint::Recalls* t_recalls = nullptr;

uint64_t next_id() {
  return Storage::wrap(nullptr, 0, Device(), [] {})->id();
}

[[noreturn]] void fail_different(const char* what) {
  fail(
      ErrorKind::runtime, "checkpoint",
      std::string("expected the function to do the same when it runs again for the gradient but ") +
          what + ": it must depend on its arguments alone");
}

}  // namespace

Checkpoint::Recalls::Recalls() : outer_(std::exchange(t_recalls, this)) {}
Checkpoint::Recalls::~Recalls() {
  t_recalls = outer_;
  for (const Ref<Checkpoint>& c : made_)
    for (Ticket& t : c->tickets_) t.tensors.clear();
}

Checkpoint::Checkpoint(Again again, const TensorList& arguments, bool keep_random)
    : again_(std::move(again)), keep_random_(keep_random) {
  Checkpoint* const outer = current();
  first_id_ = outer ? outer->first_id_ : next_id();
  bool inside = false;
  for (const Tensor& t : arguments) {
    const bool made = outer && outer->made_inside(t);
    inside = inside || made;
    arguments_.push_back({made ? Tensor() : t.detach(), t.requires_grad(), t.storage()->version()});
  }
  // Every inner checkpoint has a ticket, so that both runs count alike.
  if (outer) {
    outer_ticket_ = outer->take_ticket(nullptr, inside);
    if (inside) outer_ = Ref<Checkpoint>(outer);
  } else if (t_place) {
    if (Ticket* ticket = t_place->checkpoint.next_ticket(nullptr))
      for (const Tensor& t : arguments) ticket->tensors.push_back(t.detach());
  }
}

Checkpoint::~Checkpoint() {
  if (outer_) outer_->forget(outer_ticket_);
}

void Checkpoint::run(const std::function<void()>& function) {
  const Place place(*this, false);
  const RandomNotes notes(random_, RandomNotes::Mode::take);
  function();
  complete_ = true;
}

Checkpoint* Checkpoint::current() {
  return t_place && !t_place->again ? &t_place->checkpoint : nullptr;
}

uint32_t Checkpoint::remade(const OpCall& c) const {
  uint32_t needed = 0;
  for (int i = 0; i < c.inputs.size() && i < 16; ++i) {
    const Tensor& t = c.inputs[i];
    // A leaf is held by the graph in any case.
    if (t.defined() && made_inside(t) && !(t.requires_grad() && is_leaf(t)))
      needed |= c.op->saves & save_input(i);
  }
  for (int i = 0; i < c.outputs.size(); ++i)
    if (made_inside(c.outputs[i])) needed |= c.op->saves & save_output(i);
  return needed;
}

int Checkpoint::take_ticket(const OpDef* op, uint32_t needed) {
  tickets_.push_back({op, needed});
  return static_cast<int>(tickets_.size()) - 1;
}

void Checkpoint::forget(int ticket) {
  Ticket& t = tickets_[static_cast<size_t>(ticket)];
  t.released = true;
  t.tensors.clear();
}

// The ticket of the op that the second run does now, to be filled; null if nobody waits for it.
Checkpoint::Ticket* Checkpoint::next_ticket(const OpDef* op) {
  const size_t at = next_++;
  if (at >= tickets_.size()) {
    if (complete_) fail_different("it ran more ops than the first time");
    return nullptr;
  }
  Ticket& t = tickets_[at];
  if (t.op != op) {
    const std::string what = std::string("it ran ") + (op ? op->name : "a checkpoint") +
                             " instead of " + (t.op ? t.op->name : "a checkpoint");
    fail_different(what.c_str());
  }
  return t.needed && !t.released && t.tensors.empty() ? &t : nullptr;
}

void Checkpoint::recorded(const OpCall& c) {
  if (!t_place || !t_place->again) return;
  Ticket* const ticket = t_place->checkpoint.next_ticket(c.op);
  if (!ticket) return;
  for (int i = 0; i < c.inputs.size() && i < 16; ++i)
    if (ticket->needed & save_input(i)) ticket->tensors.push_back(c.inputs[i].detach());
  for (int i = 0; i < c.outputs.size(); ++i)
    if (ticket->needed & save_output(i)) ticket->tensors.push_back(c.outputs[i].detach());
}

const TensorList& Checkpoint::filled(int ticket) {
  const auto at = static_cast<size_t>(ticket);
  if (tickets_[at].tensors.empty()) run_again();
  if (tickets_[at].tensors.empty()) fail_different("it ran fewer ops than the first time");
  return tickets_[at].tensors;
}

Tensor Checkpoint::recall(int ticket, uint32_t bit) {
  const TensorList& tensors = filled(ticket);
  return tensors[std::popcount(tickets_[static_cast<size_t>(ticket)].needed & (bit - 1))];
}

TensorList Checkpoint::arguments_again() {
  TensorList out;
  for (size_t i = 0; i < arguments_.size(); ++i) {
    const Argument& a = arguments_[i];
    ANNX_CHECK(!a.tensor.defined() || a.tensor.storage()->version() == a.version, runtime,
               "checkpoint", "expected argument ", i,
               " to be unchanged until the gradient is computed but it was written to");
    Tensor t = a.tensor.defined() ? a.tensor.detach()
                                  : outer_->filled(outer_ticket_)[static_cast<int>(i)].detach();
    set_requires_grad(t, a.requires_grad);
    out.push_back(std::move(t));
  }
  return out;
}

void Checkpoint::run_again() {
  ANNX_CHECK(!running_, runtime, "checkpoint",
             "expected no gradient of a checkpoint from inside its own function");
  struct Running {
    explicit Running(bool& f) : flag(f) { flag = true; }
    ~Running() { flag = false; }
    bool& flag;
  };
  const Ref<Checkpoint> alive(this);
  const TensorList arguments = arguments_again();
  if (t_recalls) t_recalls->made_.push_back(alive);
  {
    const Running running(running_);
    const Place place(*this, true);
    const RecomputeGuard recompute;
    const GradModeGuard recording(true);
    const conv::WinogradGuard winograd(winograd_);
    std::optional<RandomNotes> random;
    if (keep_random_) random.emplace(random_, RandomNotes::Mode::repeat);
    next_ = 0;
    again_(arguments);
  }
  if (outer_) outer_->drop(outer_ticket_);
  if (complete_ && next_ != tickets_.size()) fail_different("it ran fewer ops than the first time");
}

}  // namespace annx::autograd
