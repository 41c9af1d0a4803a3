// A test harness in one header: TEST(name) { CHECK(...); } and ANNX_TEST_MAIN() at the end of a
// file. Each test file is a program; its arguments, if any, select the tests whose name contains
// one, and "-part" leaves those out whose name contains part.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <sstream>
#include <string>
#include <vector>

namespace annx::testing {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Register {
  Register(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

// Prints the first failures in full: a broken kernel fails thousands of times.
inline void report(const char* file, int line, const std::string& what) {
  if (++failures() <= 20) std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

// Exact: equal bits, except that every NaN equals every NaN.
inline bool same(float a, float b) {
  return (a != a && b != b) || std::memcmp(&a, &b, sizeof(a)) == 0;
}
inline bool same(double a, double b) {
  return (a != a && b != b) || std::memcmp(&a, &b, sizeof(a)) == 0;
}

template <class A, class B>
void check_equal(const char* file, int line, const char* text, const A& a, const B& b) {
  if (a == b) return;
  std::ostringstream message;
  message.precision(17);
  message << text << ": " << a << " != " << b;
  report(file, line, message.str());
}

inline int run(int argc, char** argv) {
  int selected = 0;
  int failed = 0;
  for (const Test& test : tests()) {
    bool any = true, wanted = false, left_out = false;
    for (int i = 1; i < argc; ++i) {
      if (argv[i][0] == '-') {
        left_out = left_out || std::strstr(test.name, argv[i] + 1) != nullptr;
      } else {
        any = false;
        wanted = wanted || std::strstr(test.name, argv[i]) != nullptr;
      }
    }
    if (left_out || !(any || wanted)) continue;
    ++selected;
    const int before = failures();
    try {
      test.body();
    } catch (const std::exception& error) {
      report(test.name, 0, std::string("threw: ") + error.what());
    }
    const bool ok = failures() == before;
    failed += ok ? 0 : 1;
    std::printf("%s %s\n", ok ? "ok    " : "FAILED", test.name);
    std::fflush(stdout);
  }
  std::printf("%d of %d tests failed\n", failed, selected);
  return failed == 0 && selected > 0 ? 0 : 1;
}

}  // namespace annx::testing

#define TEST(name)                                                            \
  static void test_##name();                                                  \
  static const ::annx::testing::Register register_##name{#name, test_##name}; \
  static void test_##name()

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) ::annx::testing::report(__FILE__, __LINE__, #condition); \
  } while (false)

// As CHECK, with a message built by streaming: CHECK_MSG(a == b, "n=" << n).
#define CHECK_MSG(condition, stream)                               \
  do {                                                             \
    if (!(condition)) {                                            \
      std::ostringstream message_;                                 \
      message_.precision(17);                                      \
      message_ << #condition << ": " << stream;                    \
      ::annx::testing::report(__FILE__, __LINE__, message_.str()); \
    }                                                              \
  } while (false)

#define CHECK_EQ(a, b) ::annx::testing::check_equal(__FILE__, __LINE__, #a " == " #b, (a), (b))

// The expression must throw Exception; `expected` must be part of its message.
#define CHECK_THROWS(expression, Exception, expected)                                           \
  do {                                                                                          \
    bool thrown_ = false;                                                                       \
    try {                                                                                       \
      (void)(expression);                                                                       \
    } catch (const Exception& error_) {                                                         \
      thrown_ = true;                                                                           \
      CHECK_MSG(std::string(error_.what()).find(expected) != std::string::npos, error_.what()); \
    }                                                                                           \
    CHECK_MSG(thrown_, #expression " did not throw");                                           \
  } while (false)

#define ANNX_TEST_MAIN() \
  int main(int argc, char** argv) { return ::annx::testing::run(argc, argv); }
