#include "core/cpu_limits.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>

#include <vector>
#endif

namespace annx {
namespace {

// mountinfo writes blanks in paths as \040 and the like.
std::string unescape(const std::string& text) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) &&
        octal(text[i + 3])) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_item(const std::string& list, const std::string& item) {
  return ("," + list + ",").find("," + item + ",") != std::string::npos;
}

struct Mount {
  std::string root;   // the cgroup that the mount shows at its top
  std::string point;  // where it is mounted
  bool found = false;
};

// The mount of the version 2 hierarchy, or of the version 1 hierarchy with the cpu controller.
Mount find_mount(const std::string& root, bool version2) {
  std::ifstream file(root + "/proc/self/mountinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream head(line.substr(0, dash)), tail(line.substr(dash + 3));
    std::string id, parent, device, type, source, options;
    Mount mount;
    head >> id >> parent >> device >> mount.root >> mount.point;
    tail >> type >> source >> options;
    if (version2 ? type == "cgroup2" : type == "cgroup" && has_item(options, "cpu")) {
      mount.root = unescape(mount.root);
      mount.point = unescape(mount.point);
      mount.found = true;
      return mount;
    }
  }
  return {};
}

// The cgroup of this process in that hierarchy; empty when /proc does not say.
std::string find_cgroup(const std::string& root, bool version2) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool wanted =
        version2 ? line.compare(0, second + 1, "0::") == 0 : has_item(controllers, "cpu");
    if (wanted) return line.substr(second + 1);
  }
  return "";
}

// CPUs granted in one cgroup folder, rounded up; 0 without a quota.
int quota_in(const std::string& folder, bool version2) {
  double quota = -1, period = 0;
  if (version2) {
    std::ifstream(folder + "/cpu.max") >> quota >> period;  // "max 100000" fails to parse: no quota
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  if (!(quota > 0) || !(period > 0)) return 0;
  const double cpus = quota / period;
  if (cpus >= 1e6) return 0;
  const int whole = static_cast<int>(cpus);
  return std::max(1, whole + (cpus > whole ? 1 : 0));
}

int hierarchy_cpus(const std::string& root, bool version2) {
  const Mount mount = find_mount(root, version2);
  if (!mount.found) return 0;
  std::string path = find_cgroup(root, version2);
  // The path below the mount point; a cgroup outside of the mount leaves only its top.
  if (mount.root != "/") {
    const bool below = path.compare(0, mount.root.size(), mount.root) == 0 &&
                       (path.size() == mount.root.size() || path[mount.root.size()] == '/');
    path = below ? path.substr(mount.root.size()) : "";
  }
  if (path.find("..") != std::string::npos) path = "";

  int tightest = 0;
  while (true) {
    while (!path.empty() && path.back() == '/') path.pop_back();
    const int cpus = quota_in(root + mount.point + path, version2);
    if (cpus > 0) tightest = tightest == 0 ? cpus : std::min(tightest, cpus);
    if (path.empty()) return tightest;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

int affinity_cpus() {
#if defined(__linux__)
  // The kernel refuses a mask smaller than its own, so grow until it fits.
  for (int cpus = 1024; cpus <= 1 << 18; cpus *= 2) {
    std::vector<cpu_set_t> mask(CPU_ALLOC_SIZE(cpus) / sizeof(cpu_set_t) + 1);
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    if (sched_getaffinity(0, bytes, mask.data()) == 0) {
      return std::max(1, CPU_COUNT_S(bytes, mask.data()));
    }
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int cgroup_cpus(const std::string& root) {
  const int v1 = hierarchy_cpus(root, false);
  const int v2 = hierarchy_cpus(root, true);
  if (v1 == 0 || v2 == 0) return std::max(v1, v2);
  return std::min(v1, v2);
}

int available_cpus() {
  const int affinity = affinity_cpus();
  const int quota = cgroup_cpus();
  return quota == 0 ? affinity : std::min(affinity, quota);
}

int current_cpu() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

void leave_cpu(int cpu) {
#if defined(__linux__)
  if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getcpu() != cpu) return;
  cpu_set_t mine, others;
  if (sched_getaffinity(0, sizeof(mine), &mine) != 0) return;
  others = mine;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) == 0) return;
  // The first call moves the thread, the second leaves it where it is.
  if (sched_setaffinity(0, sizeof(others), &others) == 0) sched_setaffinity(0, sizeof(mine), &mine);
#else
  static_cast<void>(cpu);
#endif
}

}  // namespace annx
