// Which SIMD target the kernels run on: detected by CPU feature, never by vendor.
#pragma once

#include <atomic>
#include <string_view>
#include <vector>

#if defined(__x86_64__)
#define ANNX_ARCH_X86_64 1
#define ANNX_ARCH_AARCH64 0
#elif defined(__aarch64__)
#define ANNX_ARCH_X86_64 0
#define ANNX_ARCH_AARCH64 1
#else
#define ANNX_ARCH_X86_64 0
#define ANNX_ARCH_AARCH64 0
#endif

namespace annx {

// What a target may use:
//   scalar  the baseline of the architecture
//   avx2    AVX2, FMA, F16C, BMI1, BMI2, LZCNT, POPCNT (x86-64-v3 without MOVBE)
//   avx512  avx2 and AVX-512 F, CD, BW, DQ, VL (x86-64-v4)
//   neon    Advanced SIMD of ARMv8.0
enum class Target : int { scalar = 0, avx2 = 1, avx512 = 2, neon = 3 };
inline constexpr int kTargetCount = 4;

namespace detail {
// Constant-initialised to scalar, so it may be read before any dynamic initialiser has run.
extern std::atomic<int> active_target_index;

// The registers that decide on x86-64; zero where the CPU lacks the leaf.
struct X86Features {
  unsigned leaf1_ecx = 0;
  unsigned leaf7_ebx = 0;
  unsigned extended1_ecx = 0;  // leaf 0x80000001
  unsigned xcr0 = 0;           // state that the operating system saves
};
// Bit i is set when Target i may run. A pure function, so that tests can pose as other machines.
unsigned x86_target_mask(const X86Features& features);
}  // namespace detail

// The target that kernels run on now: the best supported one unless forced.
inline Target active_target() {
  return static_cast<Target>(detail::active_target_index.load(std::memory_order_relaxed));
}

// Targets that this build contains and this CPU runs, worst first; scalar is always there.
std::vector<Target> supported_targets();
bool target_supported(Target target);
Target best_target();

const char* target_name(Target target);

// Throws annx::Error (value) that lists the valid names when `name` is unknown or unsupported here.
Target parse_target(std::string_view name);

// Forces a target; throws annx::Error (value) when it is not supported here.
void set_target(Target target);

// Applies ANNX_TARGET when it is set and not empty; called at module import.
void init_target_from_env();

}  // namespace annx
