// The thread pool: partition, exceptions, nesting, concurrent callers, fork, limits.
#include "core/thread_pool.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "core/cpu_limits.h"
#include "core/error.h"

using annx::Error;
using annx::parallel_for;

namespace {

using Clock = std::chrono::steady_clock;

double ns_since(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

void spin_us(double us) {
  const Clock::time_point start = Clock::now();
  while (ns_since(start) < us * 1e3) {
  }
}

// Every element exactly once, in exactly the chunks that (n, grain) fixes.
void check_partition(int64_t n, int64_t grain) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
  std::atomic<int64_t> chunks{0}, wrong{0};
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    chunks.fetch_add(1);
    if (begin % grain != 0 || end != std::min(n, begin + grain) || begin >= end) wrong.fetch_add(1);
    for (int64_t i = begin; i < end; ++i) seen[static_cast<size_t>(i)].fetch_add(1);
  });
  CHECK_MSG(wrong == 0, "n=" << n << " grain=" << grain);
  CHECK_MSG(chunks == (n + grain - 1) / grain, "n=" << n << " grain=" << grain);
  for (auto& count : seen) CHECK(count == 1);
}

// Work for all threads, so that the pool is really in use.
int64_t busy_sum(int64_t n) {
  std::atomic<int64_t> sum{0};
  parallel_for(n, 1, [&](int64_t begin, int64_t) {
    spin_us(2);
    sum.fetch_add(begin);
  });
  return sum;
}

// Which chunk's exception reaches the caller when those in `failing` throw; -1 for none.
int64_t first_failure(int64_t chunks, const std::set<int64_t>& failing) {
  try {
    parallel_for(chunks, 1, [&](int64_t begin, int64_t) {
      spin_us(begin % 3 == 0 ? 20 : 1);
      if (failing.count(begin)) throw std::runtime_error(std::to_string(begin));
    });
  } catch (const std::runtime_error& error) {
    return std::stoll(error.what());
  }
  return -1;
}

// The exit status of `body` in a child, or -1 when a signal (the alarm) ended it.
template <class F>
int in_child(F body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    std::exit(body() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A folder that poses as the file system root.
struct FakeRoot {
  std::string path;
  FakeRoot() {
    std::string name = std::filesystem::temp_directory_path() / "annx_cgroup_XXXXXX";
    path = mkdtemp(name.data());
  }
  ~FakeRoot() { std::filesystem::remove_all(path); }
  void write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path + file).parent_path());
    std::ofstream(path + file) << text;
  }
  int cpus() const { return annx::cgroup_cpus(path); }
};

}  // namespace

TEST(partition_is_fixed_by_n_and_grain) {
  for (int threads : {1, 2, 3, 8}) {
    annx::set_num_threads(threads);
    for (int64_t n : {0, 1, 2, 7, 64, 1000, 4097}) {
      for (int64_t grain : {1, 2, 5, 64, 1000, 5000}) check_partition(n, grain);
    }
  }
  annx::set_num_threads(2);
  check_partition(300000, 1);  // many chunks per claim
  CHECK_THROWS(parallel_for(10, 0, [](int64_t, int64_t) {}), Error,
               "[parallel_for] expected a grain");
}

TEST(work_is_shared) {
  annx::set_num_threads(2);
  bool shared = false;
  // The other core may be taken, so some tries are allowed.
  for (int i = 0; i < 50 && !shared; ++i) {
    std::atomic<int> inside{0};
    std::atomic<bool> together{false};
    parallel_for(4, 1, [&](int64_t, int64_t) {
      inside.fetch_add(1);
      const Clock::time_point start = Clock::now();
      while (ns_since(start) < 20e6 && !together) {
        if (inside.load() >= 2) together = true;
      }
      inside.fetch_sub(1);
    });
    shared = together;
  }
  CHECK(shared);
}

TEST(single_chunk_is_a_plain_call) {
  annx::set_num_threads(2);
  const std::thread::id self = std::this_thread::get_id();
  int calls = 0;
  parallel_for(100, 100, [&](int64_t begin, int64_t end) {
    CHECK(begin == 0 && end == 100 && std::this_thread::get_id() == self);
    CHECK(!annx::in_serial_region());
    ++calls;
  });
  parallel_for(0, 1, [&](int64_t, int64_t) { ++calls; });
  parallel_for(-5, 1, [&](int64_t, int64_t) { ++calls; });
  CHECK_EQ(calls, 1);

  const int repeats = 1000000;
  int64_t total = 0;
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point start = Clock::now();
    for (int r = 0; r < repeats; ++r) {
      parallel_for(100, 1000, [&](int64_t begin, int64_t end) {
        total += end - begin;
        __asm__ volatile("" : "+r"(total));
      });
    }
    best = std::min(best, ns_since(start) / repeats);
  }
  CHECK_EQ(total, int64_t{500} * repeats);
  std::printf("       single chunk: %.2f ns\n", best);
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  CHECK_MSG(best < 20, best << " ns");
#endif
}

TEST(nested_calls_run_serially) {
  annx::set_num_threads(4);
  std::atomic<int64_t> total{0}, strayed{0};
  parallel_for(16, 1, [&](int64_t, int64_t) {
    CHECK(annx::in_serial_region());
    const std::thread::id self = std::this_thread::get_id();
    parallel_for(100, 7, [&](int64_t begin, int64_t end) {
      if (std::this_thread::get_id() != self) strayed.fetch_add(1);
      total.fetch_add(end - begin);
    });
  });
  CHECK_EQ(total.load(), 1600);
  CHECK_EQ(strayed.load(), 0);
  CHECK(!annx::in_serial_region());
}

TEST(serial_guard_keeps_work_on_the_thread) {
  annx::set_num_threads(4);
  busy_sum(100);
  const std::thread::id self = std::this_thread::get_id();
  int64_t next = 0;
  {
    const annx::SerialGuard guard;
    CHECK(annx::in_serial_region());
    parallel_for(200, 1, [&](int64_t begin, int64_t) {
      CHECK(std::this_thread::get_id() == self);
      CHECK_EQ(begin, next);
      ++next;
    });
  }
  CHECK_EQ(next, 200);
  CHECK(!annx::in_serial_region());
}

TEST(the_first_failed_chunk_wins) {
  for (int threads : {1, 2, 4}) {
    annx::set_num_threads(threads);
    for (int i = 0; i < 20; ++i) {
      CHECK_EQ(first_failure(64, {}), -1);
      CHECK_EQ(first_failure(64, {0}), 0);
      CHECK_EQ(first_failure(64, {9, 10, 11, 63}), 9);
      CHECK_EQ(first_failure(64, {63}), 63);
      CHECK_EQ(first_failure(64, {31, 32, 33, 34, 35, 36}), 31);
    }
    // Many chunks per claim: chunks after the failed one in its claim are left out.
    CHECK_EQ(first_failure(2000, {1500, 1501, 1999}), 1500);
    CHECK(!annx::in_serial_region());
    CHECK_EQ(busy_sum(100), 4950);
  }
}

TEST(concurrent_callers_do_not_deadlock) {
  annx::set_num_threads(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 6; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < 300; ++i) {
        const int64_t n = 1 + (t * 37 + i) % 200;
        std::vector<int64_t> out(static_cast<size_t>(n));
        parallel_for(n, 3, [&](int64_t begin, int64_t end) {
          for (int64_t k = begin; k < end; ++k) out[static_cast<size_t>(k)] = k * k;
        });
        for (int64_t k = 0; k < n; ++k) wrong += out[static_cast<size_t>(k)] != k * k;
        if (i % 50 == 0) annx::set_num_threads(2 + (t + i / 50) % 3);
        if (i % 97 == 0 && first_failure(20, {7, 8}) != 7) wrong += 1;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST(workers_sleep_and_come_back) {
  annx::set_num_threads(3);
  for (int i = 0; i < 30; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(i % 3 == 0 ? 2000 : 150));
    CHECK_EQ(busy_sum(60), 1770);
  }
}

TEST(number_of_threads) {
  annx::set_num_threads(5);
  CHECK_EQ(annx::num_threads(), 5);
  CHECK_EQ(busy_sum(50), 1225);
  annx::set_num_threads(annx::kMaxThreads);
  CHECK_EQ(busy_sum(2000), 1999000);
  annx::set_num_threads(1);
  const std::thread::id self = std::this_thread::get_id();
  parallel_for(10, 1, [&](int64_t, int64_t) { CHECK(std::this_thread::get_id() == self); });
  for (int bad : {0, -3, annx::kMaxThreads + 1}) {
    CHECK_THROWS(annx::set_num_threads(bad), Error,
                 "[set_num_threads] expected a number of threads from 1 to 256 but got " +
                     std::to_string(bad));
  }
  CHECK_EQ(annx::num_threads(), 1);
}

// By arithmetic: fegetround reads the x87 unit, which no kernel uses.
int observed_rounding() {
  volatile double one = 1, tiny = 0x1p-80;
  if (one + tiny > one) return FE_UPWARD;
  return one - tiny < one ? FE_DOWNWARD : FE_TONEAREST;
}

TEST(workers_take_over_rounding) {
  annx::set_num_threads(2);
  for (int mode : {FE_DOWNWARD, FE_UPWARD, FE_TONEAREST}) {
    std::fesetround(mode);
    std::atomic<int> wrong{0};
    parallel_for(200, 1, [&](int64_t, int64_t) {
      spin_us(2);
      if (observed_rounding() != mode) wrong.fetch_add(1);
    });
    CHECK_EQ(wrong.load(), 0);
  }
}

TEST(children_of_a_fork_train) {
  annx::set_num_threads(2);
  for (int i = 0; i < 200; ++i) {
    CHECK_EQ(busy_sum(20), 190);
    CHECK_EQ(in_child([] { return busy_sum(40) == 780 && annx::num_threads() == 2; }), 0);
  }
  // A child of a child, and the parent afterwards.
  CHECK_EQ(in_child([] {
             return busy_sum(40) == 780 && in_child([] { return busy_sum(40) == 780; }) == 0;
           }),
           0);
  CHECK_EQ(busy_sum(40), 780);
}

TEST(fork_while_another_thread_is_in_a_region) {
  annx::set_num_threads(3);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::thread other([&] {
    while (!stop) wrong += busy_sum(30) != 435;
  });
  for (int i = 0; i < 50; ++i) {
    CHECK_EQ(in_child([] { return busy_sum(40) == 780; }), 0);
  }
  stop = true;
  other.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST(exit_while_other_threads_are_in_regions) {
  annx::set_num_threads(3);
  for (int i = 0; i < 20; ++i) {
    CHECK_EQ(in_child([] {
               for (int t = 0; t < 2; ++t) {
                 std::thread([] {
                   while (true) busy_sum(20);
                 }).detach();
               }
               return busy_sum(40) == 780;
             }),
             0);
  }
}

TEST(environment_limits_the_threads) {
  // A fresh process resolves the number anew, so ask in children that have not.
  const auto threads_with = [](const char* value, int expected) {
    return in_child([&] {
      setenv("ANNX_NUM_THREADS", value, 1);
      const std::string self = "/proc/self/exe";
      const std::string text = std::to_string(expected);
      execl(self.c_str(), "test_thread_pool", "--num-threads", text.c_str(), nullptr);
      return false;
    });
  };
  const int cpus = std::min(annx::available_cpus(), annx::kMaxThreads);
  CHECK_EQ(threads_with("1", 1), 0);
  CHECK_EQ(threads_with("100000", cpus), 0);
  CHECK_EQ(threads_with("", cpus), 0);
  CHECK_EQ(threads_with("2", std::min(2, cpus)), 0);

  for (const char* bad : {"0", "-1", "two", "2.5", "4 ", "99999999999999"}) {
    setenv("ANNX_NUM_THREADS", bad, 1);
    CHECK_THROWS(annx::init_threads_from_env(), Error,
                 std::string("[ANNX_NUM_THREADS] expected a whole number of threads, at least 1, "
                             "but got '") +
                     bad + "'");
  }
  unsetenv("ANNX_NUM_THREADS");
  annx::init_threads_from_env();
}

TEST(cgroup_version_2_quota) {
  FakeRoot root;
  CHECK_EQ(root.cpus(), 0);
  root.write("/proc/self/cgroup", "0::/user.slice/job\n");
  root.write("/proc/self/mountinfo",
             "22 27 0:21 / /proc rw - proc proc rw\n"
             "30 25 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  CHECK_EQ(root.cpus(), 0);
  root.write("/sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n");
  CHECK_EQ(root.cpus(), 0);
  root.write("/sys/fs/cgroup/user.slice/job/cpu.max", "250000 100000\n");
  CHECK_EQ(root.cpus(), 3);
  root.write("/sys/fs/cgroup/user.slice/job/cpu.max", "300000 100000\n");
  CHECK_EQ(root.cpus(), 3);
  root.write("/sys/fs/cgroup/user.slice/job/cpu.max", "1000 100000\n");
  CHECK_EQ(root.cpus(), 1);
  // The parent grants less than the group itself.
  root.write("/sys/fs/cgroup/user.slice/job/cpu.max", "800000 100000\n");
  root.write("/sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n");
  CHECK_EQ(root.cpus(), 2);
}

TEST(cgroup_version_1_quota) {
  FakeRoot root;
  // In a container: the mount shows the container's group at its top.
  root.write("/proc/self/cgroup", "4:memory:/docker/abc\n3:cpuset,cpu,cpuacct:/docker/abc\n0::/\n");
  root.write(
      "/proc/self/mountinfo",
      "33 25 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "34 25 0:31 /docker/abc /sys/fs/cgroup/cpu\\040acct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "35 25 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  root.write("/sys/fs/cgroup/cpu acct/cpu.cfs_period_us", "100000\n");
  root.write("/sys/fs/cgroup/cpu acct/cpu.cfs_quota_us", "-1\n");
  CHECK_EQ(root.cpus(), 0);
  root.write("/sys/fs/cgroup/cpu acct/cpu.cfs_quota_us", "350000\n");
  CHECK_EQ(root.cpus(), 4);
  // The tighter of both hierarchies counts.
  root.write("/sys/fs/cgroup/unified/cpu.max", "120000 100000\n");
  CHECK_EQ(root.cpus(), 2);
  // A cgroup outside of what the mount shows leaves the top of the mount.
  root.write("/proc/self/cgroup", "3:cpu,cpuacct:/docker/abcdef\n");
  root.write("/sys/fs/cgroup/cpu acct/cpu.cfs_quota_us", "100000\n");
  CHECK_EQ(root.cpus(), 1);
}

TEST(limits_of_this_machine) {
  CHECK(annx::affinity_cpus() >= 1);
  CHECK(annx::available_cpus() >= 1 && annx::available_cpus() <= annx::affinity_cpus());
  // Affinity is asked for when needed, not remembered.
  cpu_set_t before, one;
  CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
    if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
  }
  CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
  CHECK_EQ(annx::affinity_cpus(), 1);
  CHECK_EQ(annx::available_cpus(), 1);
  CHECK(sched_setaffinity(0, sizeof(before), &before) == 0);
}

TEST(a_thread_leaves_a_cpu_and_keeps_its_mask) {
  cpu_set_t before, after;
  CHECK(sched_getaffinity(0, sizeof(before), &before) == 0);
  for (int i = 0; i < 20; ++i) {
    const int cpu = annx::current_cpu();
    CHECK(cpu >= 0);
    annx::leave_cpu(cpu);
    annx::leave_cpu(-1);
    CHECK(sched_getaffinity(0, sizeof(after), &after) == 0);
    CHECK(CPU_EQUAL(&before, &after));
  }
  // With one CPU there is nowhere to go.
  cpu_set_t one;
  CPU_ZERO(&one);
  const int cpu = annx::current_cpu();
  CPU_SET(cpu, &one);
  CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
  annx::leave_cpu(cpu);
  CHECK_EQ(annx::current_cpu(), cpu);
  if (CPU_COUNT(&before) > 1) {
    // The mask widens without moving the thread; leaving does.
    CHECK(sched_setaffinity(0, sizeof(before), &before) == 0);
    bool moved = false;
    for (int i = 0; i < 100 && !moved; ++i) {
      const int from = annx::current_cpu();
      annx::leave_cpu(from);
      moved = annx::current_cpu() != from;
    }
    CHECK(moved);
  }
  CHECK(sched_setaffinity(0, sizeof(before), &before) == 0);
}

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "--num-threads") {
    return annx::num_threads() == std::atoi(argv[2]) ? 0 : 1;
  }
  return annx::testing::run(argc, argv);
}
