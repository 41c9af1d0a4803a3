// Errors: every wrong call throws annx::Error, which the bindings turn into the built-in Python type.
#pragma once

#include <exception>
#include <sstream>
#include <string>
#include <utility>

namespace annx {

enum class ErrorKind { value, type, index, runtime, memory, key };

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }

 private:
  ErrorKind kind_;
  std::string message_;
};

// Throws "[op] part part part".
template <class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail(ErrorKind kind, const char* op,
                                                 const Parts&... parts) {
  std::ostringstream out;
  out << '[' << op << "] ";
  (out << ... << parts);
  throw Error(kind, out.str());
}

}  // namespace annx

// ANNX_CHECK(x.dim() == 2, value, "matmul", "expected a matrix but got shape ", x.shape());
#define ANNX_CHECK(condition, kind, op, ...)                    \
  do {                                                          \
    if (__builtin_expect(!(condition), 0))                      \
      ::annx::fail(::annx::ErrorKind::kind, (op), __VA_ARGS__); \
  } while (false)
