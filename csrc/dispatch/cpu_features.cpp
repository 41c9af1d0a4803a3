#include "dispatch/cpu_features.h"

#include <cstdlib>
#include <string>

#include "core/error.h"

#if ANNX_ARCH_X86_64
#include <cpuid.h>
#endif

namespace annx {
namespace detail {

std::atomic<int> active_target_index{static_cast<int>(Target::scalar)};

unsigned x86_target_mask(const X86Features& f) {
  const auto has = [](unsigned reg, unsigned bits) { return (reg & bits) == bits; };
  unsigned mask = 1u << static_cast<int>(Target::scalar);

  // POPCNT, OSXSAVE, AVX, F16C, FMA; then BMI1, AVX2, BMI2; then LZCNT.
  constexpr unsigned kLeaf1 = 1u << 12 | 1u << 23 | 1u << 27 | 1u << 28 | 1u << 29;
  constexpr unsigned kLeaf7 = 1u << 3 | 1u << 5 | 1u << 8;
  constexpr unsigned kExtended = 1u << 5;
  // The operating system must save the XMM and YMM state.
  constexpr unsigned kYmmState = 0x6;
  if (!has(f.leaf1_ecx, kLeaf1) || !has(f.leaf7_ebx, kLeaf7) || !has(f.extended1_ecx, kExtended) ||
      !has(f.xcr0, kYmmState)) {
    return mask;
  }
  mask |= 1u << static_cast<int>(Target::avx2);

  // AVX-512 F, DQ, CD, BW, VL, and the opmask and ZMM state.
  constexpr unsigned kAvx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
  constexpr unsigned kZmmState = 0xe6;
  if (has(f.leaf7_ebx, kAvx512) && has(f.xcr0, kZmmState)) {
    mask |= 1u << static_cast<int>(Target::avx512);
  }
  return mask;
}

}  // namespace detail

namespace {

#if ANNX_ARCH_X86_64
detail::X86Features read_x86_features() {
  detail::X86Features f;
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d)) f.leaf1_ecx = c;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) f.leaf7_ebx = b;
  if (__get_cpuid(0x80000001u, &a, &b, &c, &d)) f.extended1_ecx = c;
  // XGETBV exists only where the operating system has set OSXSAVE.
  if (f.leaf1_ecx & (1u << 27)) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    f.xcr0 = low;
  }
  return f;
}
#endif

unsigned detect_target_mask() {
#if ANNX_ARCH_X86_64
  return detail::x86_target_mask(read_x86_features());
#elif ANNX_ARCH_AARCH64
  return 1u << static_cast<int>(Target::scalar) | 1u << static_cast<int>(Target::neon);
#else
  return 1u << static_cast<int>(Target::scalar);
#endif
}

unsigned target_mask() {
  static const unsigned mask = detect_target_mask();
  return mask;
}

std::string supported_names() {
  std::string names;
  for (Target target : supported_targets()) {
    if (!names.empty()) names += ", ";
    names += target_name(target);
  }
  return names;
}

[[noreturn]] void fail_unsupported(const char* op, std::string_view name) {
  fail(ErrorKind::value, op, "expected one of ", supported_names(),
       " (the targets that this CPU and this build support) but got '", name, "'");
}

Target parse_target(std::string_view name, const char* op) {
  for (Target target : supported_targets()) {
    if (name == target_name(target)) return target;
  }
  fail_unsupported(op, name);
}

// Runs when the library is loaded; until then active_target() is scalar.
[[maybe_unused]] const bool best_target_chosen = [] {
  detail::active_target_index.store(static_cast<int>(best_target()), std::memory_order_relaxed);
  return true;
}();

}  // namespace

bool target_supported(Target target) {
  const int index = static_cast<int>(target);
  return index >= 0 && index < kTargetCount && (target_mask() >> index & 1u) != 0;
}

std::vector<Target> supported_targets() {
  std::vector<Target> targets;
  for (int i = 0; i < kTargetCount; ++i) {
    if (target_supported(static_cast<Target>(i))) targets.push_back(static_cast<Target>(i));
  }
  return targets;
}

Target best_target() { return supported_targets().back(); }

const char* target_name(Target target) {
  switch (target) {
    case Target::scalar:
      return "scalar";
    case Target::avx2:
      return "avx2";
    case Target::avx512:
      return "avx512";
    case Target::neon:
      return "neon";
  }
  return "unknown";
}

Target parse_target(std::string_view name) { return parse_target(name, "target"); }

void set_target(Target target) {
  if (!target_supported(target)) fail_unsupported("set_target", target_name(target));
  detail::active_target_index.store(static_cast<int>(target), std::memory_order_relaxed);
}

void init_target_from_env() {
  const char* name = std::getenv("ANNX_TARGET");
  if (name != nullptr && *name != '\0') set_target(parse_target(name, "ANNX_TARGET"));
}

}  // namespace annx
