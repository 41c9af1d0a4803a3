// Runs a program again: bound to memory of its own, one at a time per instance.
#pragma once

#include <mutex>

#include "core/fork_mutex.h"
#include "program/constants.h"
#include "program/loop.h"

namespace annx::program {

// A program with an arena and calls ready to run. Not for two threads at once.
class Instance {
 public:
  Instance(std::shared_ptr<const Program> program, Constants* constants);

  // Whether the leaves' grads are as the program found them at capture.
  static bool fits(const Program& p);

  // Runs all instructions. On an error the instruction's scope is in failed_scope.
  TensorList run(const TensorList& arguments);
  // Runs batch after batch of rows, as the loop says.
  void run(Loop& loop);
  int failed_scope() const { return failed_scope_; }

  // Nanoseconds per instruction of the next run, for traces; null to stop.
  void set_times(std::vector<std::pair<int64_t, int64_t>>* times) { times_ = times; }

 private:
  struct Step {
    const Instruction* instruction;
    OpCall call;
  };
  void bind(size_t buffer, const Ref<Storage>& storage, int64_t base);
  Ref<Storage> result_storage(size_t buffer);
  Tensor handed_out(int value) const;
  void begin_results();
  void run_steps();
  void finish_leaves();
  void run_step(Step& step);
  void call_host(int host);
  void begin_rows(const Loop& loop);
  void take_rows(const Loop& loop);
  void keep_rows(const Loop& loop) const;
  void take_constants();

  std::shared_ptr<const Program> program_;
  Ref<Storage> arena_;
  Ref<Storage> nothing_ = Storage::wrap(nullptr, 0, Device(), [] {});
  std::vector<Tensor> tensors_;              // by value
  std::vector<SmallVec<int, 4>> values_of_;  // by buffer that moves
  std::vector<Step> steps_;
  Constants* constants_;  // null: there are none
  std::shared_ptr<const Constants::Made> made_;
  std::vector<int> moving_, results_, keyed_;  // buffers; buffers; steps
  std::vector<std::pair<int64_t, int64_t>>* times_ = nullptr;
  int failed_scope_ = -1;
  bool grad_mode_ = false;  // of the caller
  Loop* loop_ = nullptr;    // at work: it stands in for the host
};

// What callers share: gives each of them an instance, or one after the other if the program
// changes state.
class Runner {
 public:
  // The passes run when the program is first needed: the call that records it does not wait for them.
  explicit Runner(std::shared_ptr<Program> program, bool optimized = true);
  const Program& program() const;
  TensorList run(const TensorList& arguments);
  void run(Loop& loop);
  int failed_scope() const;
  std::vector<std::pair<int64_t, int64_t>> timed_run(const TensorList& arguments);
  bool changes_state() const { return changes_state_; }
  // Of prepared programs: makes what is kept between calls, ahead of the first or anew.
  void prepare();

 private:
  class Turn;
  template <class Run>
  void with_instance(const Run& run);
  std::unique_ptr<Instance> take();
  void give(std::unique_ptr<Instance> instance);

  std::shared_ptr<Program> program_;
  bool optimized_;
  mutable std::once_flag ready_;
  mutable std::unique_ptr<Constants> constants_;
  bool changes_state_ = false;
  ForkMutex mutex_, running_;
  std::vector<std::unique_ptr<Instance>> idle_;
};

}  // namespace annx::program
