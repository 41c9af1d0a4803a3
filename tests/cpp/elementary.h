// References, error bounds and the measure of error for the elementary functions.
// float32 is compared with the double function of the C library, float64 with the long double one:
// both are exact to far below the errors measured.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "ops/elementary/kernels.h"

namespace annx::testing {

// |got - reference| in units of the last place of the reference in T, as if the exponent range had
// no upper end. A wrong special value or a wrong sign of zero is infinitely wrong.
template <class T, class Wide>
double ulp_error(T got, Wide reference) {
  constexpr double wrong = std::numeric_limits<double>::infinity();
  if (std::isnan(reference) || std::isnan(got)) {
    return std::isnan(reference) && std::isnan(got) ? 0 : wrong;
  }
  if (std::isinf(reference)) return static_cast<Wide>(got) == reference ? 0 : wrong;
  if (reference == 0) {
    return got == 0 && std::signbit(got) == std::signbit(reference) ? 0 : wrong;
  }
  if (got == 0 && std::signbit(got) != std::signbit(reference)) return wrong;
  constexpr int digits = std::numeric_limits<T>::digits;
  constexpr int max_exponent = std::numeric_limits<T>::max_exponent;
  int exponent = std::ilogb(reference);
  if (exponent < std::numeric_limits<T>::min_exponent - 1) {
    exponent = std::numeric_limits<T>::min_exponent - 1;
  }
  if (exponent > max_exponent) exponent = max_exponent;
  // Infinity stands for the first number that is too large; what is larger rounds to it rightly.
  const Wide limit = std::ldexp(Wide(1), max_exponent);
  const Wide value = std::isinf(got) ? std::copysign(limit, static_cast<Wide>(got)) : Wide(got);
  if (std::isinf(got) && std::fabs(reference) >= limit) {
    return std::signbit(got) == std::signbit(reference) ? 0 : wrong;
  }
  return static_cast<double>(std::fabs(std::ldexp(value - reference, digits - 1 - exponent)));
}

template <class T>
struct Elementary {
  const char* name;
  void (*NumericsKernels::*kernel)(const T*, T*, int64_t);
  // In the next wider type.
  using Wide = std::conditional_t<sizeof(T) == 4, double, long double>;
  Wide (*reference)(Wide);
  double bound;
};

template <class Wide>
Wide reference_sigmoid(Wide x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}
template <class Wide>
Wide reference_rsqrt(Wide x) {
  return 1 / std::sqrt(x);
}
template <class Wide>
Wide reference_ndtr(Wide x) {
  return std::erfc(-x * std::sqrt(Wide(0.5L))) / 2;
}

template <class Wide>
Wide reference_softplus_tail(Wide x) {
  return std::log1p(std::exp(-std::fabs(x)));
}

inline constexpr Elementary<float> kElementary32[] = {
#define ANNX_ROW(name, reference, bound) {#name, &NumericsKernels::f32_##name, reference, bound}
    ANNX_ROW(exp, std::exp, 1),
    ANNX_ROW(expm1, std::expm1, 1.5),
    ANNX_ROW(log, std::log, 1),
    ANNX_ROW(log1p, std::log1p, 1.5),
    ANNX_ROW(sqrt, std::sqrt, 0.5),
    ANNX_ROW(rsqrt, reference_rsqrt, 1.5),
    ANNX_ROW(sin, std::sin, 1.5),
    ANNX_ROW(cos, std::cos, 1.5),
    ANNX_ROW(tanh, std::tanh, 1),
    ANNX_ROW(sigmoid, reference_sigmoid, 2),
    ANNX_ROW(erf, std::erf, 1),
    ANNX_ROW(ndtr, reference_ndtr, 72),
    ANNX_ROW(softplus_tail, reference_softplus_tail, 2),
#undef ANNX_ROW
};

inline constexpr Elementary<double> kElementary64[] = {
#define ANNX_ROW(name, reference, bound) {#name, &NumericsKernels::f64_##name, reference, bound}
    ANNX_ROW(exp, std::exp, 2),
    ANNX_ROW(expm1, std::expm1, 2),
    ANNX_ROW(log, std::log, 2),
    ANNX_ROW(log1p, std::log1p, 2),
    ANNX_ROW(sqrt, std::sqrt, 0.51),
    ANNX_ROW(rsqrt, reference_rsqrt, 2),
    ANNX_ROW(sin, std::sin, 2),
    ANNX_ROW(cos, std::cos, 2),
    ANNX_ROW(tanh, std::tanh, 2),
    ANNX_ROW(sigmoid, reference_sigmoid, 2),
    ANNX_ROW(erf, std::erf, 2),
    ANNX_ROW(ndtr, reference_ndtr, 550),
    ANNX_ROW(softplus_tail, reference_softplus_tail, 2),
#undef ANNX_ROW
};

}  // namespace annx::testing
