// Process-wide state for Python: threads, targets, memory, random state, build facts.
#include "bindings/py.h"
#include "core/allocator.h"
#include "core/cpu_limits.h"
#include "core/thread_pool.h"
#include "cuda/backend.h"
#include "dispatch/cpu_features.h"
#include "ops/conv/choice.h"
#include "ops/random/generator.h"
#include "program/record.h"

#ifndef ANNX_VERSION
#define ANNX_VERSION "0"
#endif
#ifndef ANNX_COMMIT
#define ANNX_COMMIT ""
#endif

namespace annx::python {

namespace {

void reseed(RandomState state) {
  if (program::Recorder* const active = program::Recorder::active()) active->reseeded();
  set_random_state(state);
}

py::dict build_info() {
  py::dict d;
  d["version"] = ANNX_VERSION;
  d["commit"] = ANNX_COMMIT;
#if defined(__clang__)
  d["compiler"] = "Clang " __clang_version__;
#else
  d["compiler"] = "GCC " __VERSION__;
#endif
#if defined(__x86_64__)
  d["arch"] = "x86_64";
#elif defined(__aarch64__)
  d["arch"] = "aarch64";
#else
  d["arch"] = "other";
#endif
  d["cuda"] = cuda::built();
#ifdef ANNX_RED_ZONES
  d["red_zones"] = true;
#else
  d["red_zones"] = false;
#endif
  return d;
}

py::dict allocator_stats() {
  const AllocatorStats s = annx::allocator_stats();
  py::dict d;
  d["current_bytes"] = s.current_bytes;
  d["peak_bytes"] = s.peak_bytes;
  d["cached_bytes"] = s.cached_bytes;
  return d;
}

}  // namespace

void init_runtime(py::module_& m) {
  init_target_from_env();
  init_threads_from_env();
  init_allocator_from_env();
  m.def("active_target", [] { return target_name(active_target()); }, "The SIMD target in force.");
  m.def(
      "supported_targets",
      [] {
        py::list out;
        for (Target t : supported_targets()) out.append(target_name(t));
        return out;
      },
      "SIMD targets this CPU can run.");
  m.def(
      "set_target", [](const std::string& name) { set_target(parse_target(name.c_str())); },
      "Switches the SIMD target (for tests).");
  m.def(
      "winograd", [] { return conv::winograd_name(conv::winograd_choice()); },
      "The form of Winograd in force for this thread.");
  m.def(
      "set_winograd",
      [](const std::string& name) {
        conv::set_winograd_choice(conv::parse_winograd(name.c_str(), "backends.conv"));
      },
      "Sets it: for this thread where it has a choice of its own, else for all threads.");
  m.def(
      "exchange_own_winograd",
      [](const py::object& form) -> py::object {
        const int old = conv::exchange_own_winograd(
            form.is_none() ? -1
                           : static_cast<int>(conv::parse_winograd(form.cast<std::string>().c_str(),
                                                                   "backends.conv")));
        if (old < 0) return py::none();
        return py::str(conv::winograd_name(static_cast<conv::Winograd>(old)));
      },
      "Gives this thread a choice of its own, or None; returns what it had.");
  m.def("num_threads", num_threads, "Threads of the pool.");
  m.def("set_num_threads", set_num_threads, "Sets the number of threads (1 to 256).");
  m.def("allocator_stats", allocator_stats, "Bytes in use, at peak and cached.");
  m.def("reset_peak_stats", reset_peak_stats, "Starts the peak anew from the bytes in use.");
  m.def(
      "cpu_limits",
      [] {
        py::dict d;
        d["affinity"] = affinity_cpus();
        d["cgroup"] = cgroup_cpus();
        return d;
      },
      "CPUs by affinity and by cgroup quota (0: none).");
  m.def("empty_cache", empty_cache, "Gives cached memory back to the system.");
  m.def("build_info", build_info, "How this extension was built.");
  m.def(
      "manual_seed", [](uint64_t seed) { reseed({seed, 0}); },
      "Restarts the random generator from seed.");
  m.def(
      "get_rng_state",
      [] {
        const RandomState s = random_state();
        return py::make_tuple(s.seed, s.counter);
      },
      "(seed, counter) of the random generator.");
  m.def(
      "set_rng_state", [](std::pair<uint64_t, uint64_t> s) { reseed({s.first, s.second}); },
      "Restores what get_rng_state gave.");
  m.def(
      "push_random_stream",
      [](std::pair<uint64_t, uint64_t> s) { push_random_stream({s.first, s.second}); },
      "Lets this thread's random ops draw from (seed, counter) until pop_random_stream.");
  m.def(
      "pop_random_stream",
      [] {
        const RandomState s = pop_random_stream();
        return py::make_tuple(s.seed, s.counter);
      },
      "Ends push_random_stream; returns (seed, counter) as far as it was read.");
}

}  // namespace annx::python
