// Runs the steps of a sequence on the thread pool.
#pragma once

#include <algorithm>

#include "core/thread_pool.h"

namespace annx::rnn {

// How the work is shared out, by its shape alone. Sequences are independent: groups of them run
// through all steps by themselves, and no thread waits for another. Where sequences are few, the
// units of every step are split instead.
struct Split {
  int64_t group = 1;       // sequences of a task
  int64_t block_work = 0;  // multiply-adds per step of the tasks units are split into; 0: unsplit

  // `work`: multiply-adds of one sequence in one step.
  static Split of(int64_t batch, int64_t steps, int64_t work) {
    constexpr int64_t kGroup = 16, kTaskWork = int64_t{1} << 17;
    const int64_t groups = batch / kGroup;
    Split split = {std::max<int64_t>(batch, 1), 0};
    if (groups >= 2 && batch * work * steps >= 2 * kTaskWork)
      split.group = (batch + groups - 1) / groups;
    else if (batch * work >= 2 * kTaskWork)
      split.block_work = kTaskWork;
    return split;
  }
};

// Calls run.work(phase, k, row, row_end, block, block_end) for every phase of every step, in order,
// then run.finish(k, row, row_end). A phase needs all blocks of the one before.
template <class Run>
void sweep(const Split& split, int64_t batch, int64_t first, int64_t last, Run& run) {
  if (split.block_work == 0) {
    parallel_for(batch, split.group, [&](int64_t row, int64_t end) {
      for (int64_t k = first; k < last; ++k) {
        for (int phase = 0; phase < run.phases(); ++phase)
          run.work(phase, k, row, end, 0, run.blocks(phase));
        run.finish(k, row, end);
      }
    });
    return;
  }
  for (int64_t k = first; k < last; ++k) {
    for (int phase = 0; phase < run.phases(); ++phase) {
      if (run.idle(phase, k)) continue;
      const int64_t blocks = run.blocks(phase);
      const int64_t tasks = std::max<int64_t>(1, batch * run.multiplies(phase) / split.block_work);
      parallel_for(blocks, (blocks + tasks - 1) / tasks,
                   [&](int64_t block, int64_t end) { run.work(phase, k, 0, batch, block, end); });
    }
    run.finish(k, 0, batch);
  }
}

}  // namespace annx::rnn
