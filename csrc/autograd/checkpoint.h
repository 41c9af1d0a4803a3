// A stretch of the graph that keeps nothing for the gradient: when the walk back needs what its ops
// would have saved, the function runs again and hands it over.
//
// Each op that is recorded while the function runs for the first time takes a ticket, in order. The
// function runs again with a graph of its own, thrown away afterwards; its ops take the same tickets
// and leave there what the first ones ask for. So the walk goes over the first graph, as it would
// without the checkpoint: gradients have the same bits, and hooks run once.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "ops/call.h"
#include "ops/conv/choice.h"
#include "ops/random/generator.h"

namespace annx::autograd {

class Checkpoint final : public RefCounted {
 public:
  // Runs the function on these arguments.
  using Again = std::function<void(const TensorList& arguments)>;

  // With keep_random the second run draws the random numbers of the first.
  Checkpoint(Again again, const TensorList& arguments, bool keep_random);
  ~Checkpoint() override;

  // The first run of the function: what its ops would save belongs to the checkpoint.
  void run(const std::function<void()>& function);

  // The checkpoint that an op of this thread belongs to now, or null.
  static Checkpoint* current();
  // Tells the second run on this thread, if there is one, that an op was recorded.
  static void recorded(const OpCall& c);

  // Which of the saved tensors (bits of OpDef::saves) a second run makes anew.
  uint32_t remade(const OpCall& c) const;
  int take_ticket(const OpDef* op, uint32_t needed);
  // One tensor of a ticket, by its bit; runs the function again if it is not there.
  Tensor recall(int ticket, uint32_t bit);
  // Lets go of a ticket's tensors: until they are needed again, or for good.
  void drop(int ticket) { tickets_[static_cast<size_t>(ticket)].tensors.clear(); }
  void forget(int ticket);

  // What was made anew within it is dropped at its end: a walk back.
  class Recalls {
   public:
    Recalls();
    ~Recalls();
    Recalls(const Recalls&) = delete;

   private:
    friend class Checkpoint;
    std::vector<Ref<Checkpoint>> made_;
    Recalls* outer_;
  };

 private:
  struct Place;  // where a thread is

  struct Ticket {
    const OpDef* op;  // null: an inner checkpoint, whose arguments these are
    uint32_t needed;
    bool released = false;
    TensorList tensors{};  // in the order of the bits; all arguments of an inner checkpoint
  };
  struct Argument {
    Tensor tensor;  // undefined where it is the outer checkpoint's to make
    bool requires_grad;
    uint32_t version;
  };
  bool made_inside(const Tensor& t) const { return t.storage()->id() >= first_id_; }
  void run_again();
  TensorList arguments_again();
  Ticket* next_ticket(const OpDef* op);
  const TensorList& filled(int ticket);

  static thread_local Place* t_place;

  Again again_;
  std::vector<Argument> arguments_;
  bool keep_random_;
  conv::Winograd winograd_ = conv::winograd_choice();  // of the first run
  std::vector<RandomState> random_;
  uint64_t first_id_;  // storages of this thread from here on are made inside
  Ref<Checkpoint> outer_;
  int outer_ticket_ = -1;
  std::vector<Ticket> tickets_;
  size_t next_ = 0;  // of the run under way
  bool running_ = false, complete_ = false;
};

}  // namespace annx::autograd
