// Which form of Winograd 3x3 taps are computed by: F(2x2, 3x3) unless F(4x4, 3x3) is asked for.
#pragma once

#include <cstdint>

namespace annx::conv {

enum class Winograd : uint8_t { f23, f43 };

const char* winograd_name(Winograd form);
// Throws on an unknown name.
Winograd parse_winograd(const char* name, const char* op);

// What is in force for this thread: its own choice while a guard lives, else the process's.
Winograd winograd_choice();
void set_winograd_choice(Winograd form);

// The choice of this thread alone: -1 for none, else a Winograd. Gives what it replaces.
int exchange_own_winograd(int form);

class WinogradGuard {
 public:
  explicit WinogradGuard(Winograd form) : saved_(exchange_own_winograd(static_cast<int>(form))) {}
  ~WinogradGuard() { exchange_own_winograd(saved_); }
  WinogradGuard(const WinogradGuard&) = delete;

 private:
  int saved_;
};

}  // namespace annx::conv
