// What replays of a prepared program need not compute again: folded instructions, and what kernels make
// of weights (OpDef::prepare). Made anew once that memory has been written to. For many threads at once.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "core/fork_mutex.h"
#include "program/program.h"

namespace annx::program {

// Per buffer, whether its memory is read only; empty where the host is called, which may write any.
std::vector<char> constant_buffers(const Program& p);

class Constants {
 public:
  // A state of them, unchanging.
  struct Made {
    uint64_t age = 0;                                   // how often forget was called before
    std::vector<uint32_t> versions;                     // of the memory they depend on
    std::vector<Ref<Storage>> folded;                   // by buffer
    std::vector<std::shared_ptr<const void>> prepared;  // by instruction
  };

  explicit Constants(std::shared_ptr<const Program> program);
  bool empty() const { return read_.empty() && program_->folded.empty(); }

  // Those of the memory as it is now: `last` where that still holds.
  std::shared_ptr<const Made> of_now(const std::shared_ptr<const Made>& last);
  // Makes them again at the next call: the memory was written to behind the library's back.
  void forget();

 private:
  bool holds(const Made& made) const;
  std::shared_ptr<const Made> make() const;

  std::shared_ptr<const Program> program_;
  std::vector<char> constant_;      // by buffer
  std::vector<Ref<Storage>> read_;  // externals that anything depends on
  ForkMutex mutex_;
  std::shared_ptr<const Made> made_;
  std::atomic<uint64_t> age_{0};
};

}  // namespace annx::program
