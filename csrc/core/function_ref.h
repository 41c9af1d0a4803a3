// A reference to a callable that outlives the call: two words, never allocates.
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace annx {

template <class Signature>
class FunctionRef;

template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  using Invoke = R (*)(void* callable, Args... args);

  template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, FunctionRef>>>
  FunctionRef(F&& callable)
      : callable_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
        invoke_([](void* f, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(f))(std::forward<Args>(args)...);
        }) {
    static_assert(!std::is_function_v<std::remove_reference_t<F>>, "wrap the function in a lambda");
  }
  // The two words of another reference, as the thread pool hands them to its workers.
  FunctionRef(void* callable, Invoke invoke) : callable_(callable), invoke_(invoke) {}

  R operator()(Args... args) const { return invoke_(callable_, std::forward<Args>(args)...); }

  void* callable() const { return callable_; }
  Invoke invoke() const { return invoke_; }

 private:
  void* callable_;
  Invoke invoke_;
};

}  // namespace annx
