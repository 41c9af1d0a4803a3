// Target detection, ANNX_TARGET and the kernel tables.
#include <cstdlib>
#include <string>

#include "check.h"
#include "core/error.h"
#include "dispatch/kernels.h"

namespace annx {

struct ProbeKernels {
  int (*which)();
};
ANNX_DECLARE_KERNELS(ProbeKernels, probe_kernels)

// One table per target, as cpu-inl.h would define it through the spine.
#define ANNX_DEFINE_PROBE(target)                                 \
  namespace target {                                              \
  static int which() { return static_cast<int>(Target::target); } \
  extern const ProbeKernels probe_kernels;                        \
  const ProbeKernels probe_kernels = {which};                     \
  }
ANNX_DEFINE_PROBE(scalar)
#if ANNX_ARCH_X86_64
ANNX_DEFINE_PROBE(avx2)
ANNX_DEFINE_PROBE(avx512)
#elif ANNX_ARCH_AARCH64
ANNX_DEFINE_PROBE(neon)
#endif

}  // namespace annx

using annx::Error;
using annx::Target;
using annx::detail::X86Features;

namespace {

constexpr unsigned bit(Target target) { return 1u << static_cast<int>(target); }

// A machine with everything.
X86Features full_x86() {
  X86Features f;
  f.leaf1_ecx = f.leaf7_ebx = f.extended1_ecx = 0xffffffffu;
  f.xcr0 = 0xe7;
  return f;
}

// The target ANNX_TARGET gives, from the best one.
Target target_from_env(const char* value) {
  annx::set_target(annx::best_target());
  setenv("ANNX_TARGET", value, 1);
  annx::init_target_from_env();
  return annx::active_target();
}

}  // namespace

TEST(the_best_target_is_active_after_loading) {
  CHECK(annx::active_target() == annx::best_target());
  CHECK(annx::supported_targets().front() == Target::scalar);
  CHECK(annx::supported_targets().back() == annx::best_target());
#if ANNX_ARCH_AARCH64
  CHECK(annx::best_target() == Target::neon);
  CHECK(!annx::target_supported(Target::avx2));
#elif ANNX_ARCH_X86_64
  CHECK(!annx::target_supported(Target::neon));
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  CHECK_EQ(annx::target_supported(Target::avx2), avx2);
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  CHECK_EQ(annx::target_supported(Target::avx512), avx512);
#endif
}

TEST(detection_is_by_feature) {
  const unsigned scalar = bit(Target::scalar);
  const unsigned avx2 = scalar | bit(Target::avx2);
  const unsigned avx512 = avx2 | bit(Target::avx512);
  CHECK_EQ(annx::detail::x86_target_mask(X86Features{}), scalar);
  CHECK_EQ(annx::detail::x86_target_mask(full_x86()), avx512);

  const auto without = [](unsigned X86Features::* reg, unsigned index) {
    X86Features f = full_x86();
    f.*reg &= ~(1u << index);
    return annx::detail::x86_target_mask(f);
  };
  // POPCNT, OSXSAVE, AVX, F16C, FMA, BMI1, AVX2, BMI2, LZCNT, and the XMM and YMM state.
  for (unsigned i : {23u, 27u, 28u, 29u, 12u})
    CHECK_EQ(without(&X86Features::leaf1_ecx, i), scalar);
  for (unsigned i : {3u, 5u, 8u}) CHECK_EQ(without(&X86Features::leaf7_ebx, i), scalar);
  CHECK_EQ(without(&X86Features::extended1_ecx, 5), scalar);
  for (unsigned i : {1u, 2u}) CHECK_EQ(without(&X86Features::xcr0, i), scalar);
  // AVX-512 F, DQ, CD, BW, VL, and the opmask and ZMM state.
  for (unsigned i : {16u, 17u, 28u, 30u, 31u}) CHECK_EQ(without(&X86Features::leaf7_ebx, i), avx2);
  for (unsigned i : {5u, 6u, 7u}) CHECK_EQ(without(&X86Features::xcr0, i), avx2);
}

TEST(tables_follow_the_active_target) {
  for (Target target : annx::supported_targets()) {
    annx::set_target(target);
    CHECK(annx::active_target() == target);
    CHECK_EQ(annx::probe_kernels().which(), static_cast<int>(target));
    CHECK_EQ(annx::probe_kernels_for(target).which(), static_cast<int>(target));
    CHECK(annx::parse_target(annx::target_name(target)) == target);
  }
  annx::set_target(annx::best_target());
}

TEST(environment_forces_a_target) {
  for (Target target : annx::supported_targets()) {
    CHECK(target_from_env(annx::target_name(target)) == target);
  }
  CHECK(target_from_env("") == annx::best_target());
  unsetenv("ANNX_TARGET");
  annx::init_target_from_env();
  CHECK(annx::active_target() == annx::best_target());
}

TEST(unknown_and_unsupported_targets_are_errors) {
  for (const char* name : {"sse9", "AVX2", "scalar ", "avx2,avx512"}) {
    CHECK_THROWS(target_from_env(name), Error, "[ANNX_TARGET] expected one of scalar");
    CHECK_THROWS(annx::parse_target(name), Error, std::string("but got '") + name + "'");
  }
  for (Target target : {Target::avx2, Target::avx512, Target::neon}) {
    if (annx::target_supported(target)) continue;
    CHECK_THROWS(target_from_env(annx::target_name(target)), Error, annx::target_name(target));
    CHECK_THROWS(annx::set_target(target), Error, "[set_target] expected one of scalar");
  }
  // A failed request changes nothing.
  CHECK(annx::active_target() == annx::best_target());
  unsetenv("ANNX_TARGET");
}

ANNX_TEST_MAIN()
