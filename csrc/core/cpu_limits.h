// Which CPUs this process may use, and how many: affinity mask and container quota.
#pragma once

#include <string>

namespace annx {

// CPUs in the affinity mask of the calling thread, at least 1.
int affinity_cpus();

// CPUs that the cgroup quota grants, rounded up, or 0 without a quota. The tightest of the process'
// cgroup and its ancestors counts, in version 1 and version 2 hierarchies. `root` is put before
// every path, for tests.
int cgroup_cpus(const std::string& root = "");

// min(affinity, quota), at least 1.
int available_cpus();

// The CPU that this thread runs on, or -1 where the system does not say.
int current_cpu();

// Moves the calling thread to another of its CPUs if it runs on this one; its mask stays as it was.
void leave_cpu(int cpu);

}  // namespace annx
