// Buffers of one thread, kept from task to task. Behind a pointer: thread-local memory is scarce, all
// libraries of a process share it.
#pragma once

#include <memory>
#include <vector>

#include "gemm/scratch.h"
#include "ops/conv/slab.h"

namespace annx::conv {

template <class T>
struct Workspace {
  Scratch scratch;
  std::vector<int64_t> offsets;
  std::vector<const T*> a, base;
  std::vector<T*> c;
  std::vector<Run> runs;
};

template <class T>
Workspace<T>& workspace() {
  static thread_local std::unique_ptr<Workspace<T>> own;
  if (!own) own = std::make_unique<Workspace<T>>();
  return *own;
}

}  // namespace annx::conv
