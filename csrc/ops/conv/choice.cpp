#include "ops/conv/choice.h"

#include <atomic>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace annx::conv {
namespace {

constexpr const char* kNames[] = {"f23", "f43"};

std::atomic<Winograd> g_choice{Winograd::f23};
thread_local int t_own = -1;

}  // namespace

const char* winograd_name(Winograd form) { return kNames[static_cast<int>(form)]; }

Winograd parse_winograd(const char* name, const char* op) {
  for (int i = 0; i < 2; ++i)
    if (std::strcmp(name, kNames[i]) == 0) return static_cast<Winograd>(i);
  fail(ErrorKind::value, op, "expected winograd 'f23' or 'f43' but got '", name, "'");
}

Winograd winograd_choice() {
  return t_own >= 0 ? static_cast<Winograd>(t_own) : g_choice.load(std::memory_order_relaxed);
}

void set_winograd_choice(Winograd form) {
  if (t_own >= 0)
    t_own = static_cast<int>(form);
  else
    g_choice.store(form, std::memory_order_relaxed);
}

int exchange_own_winograd(int form) { return std::exchange(t_own, form); }

}  // namespace annx::conv
