// Products of vectors and matrices by name: matmul with the shapes each name promises.
#include "ops/functional.h"

namespace annx {
namespace {

void expect_dims(const OpCall& c, int i, int dims, const char* what) {
  ANNX_CHECK(c.in(i).dim() == dims, value, c.name(), "expected ", what, " but got shape ",
             c.in(i).shape());
}

void expect_inner(const OpCall& c, const Tensor& a, const Tensor& b, int64_t k, int64_t other) {
  ANNX_CHECK(k == other, value, c.name(), "expected inner sizes to agree but got shapes ",
             a.shape(), " and ", b.shape(), " (", k, " and ", other, ")");
}

TensorList dot(const OpCall& c) {
  expect_dims(c, 0, 1, "a vector as input");
  expect_dims(c, 1, 1, "a vector as tensor");
  expect_inner(c, c.in(0), c.in(1), c.in(0).size(0), c.in(1).size(0));
  return {ops::matmul(c.in(0), c.in(1))};
}

TensorList outer(const OpCall& c) {
  expect_dims(c, 0, 1, "a vector as input");
  expect_dims(c, 1, 1, "a vector as vec2");
  return {ops::mul(ops::unsqueeze(c.in(0), 1), ops::unsqueeze(c.in(1), 0))};
}

TensorList mv(const OpCall& c) {
  expect_dims(c, 0, 2, "a matrix as input");
  expect_dims(c, 1, 1, "a vector as vec");
  expect_inner(c, c.in(0), c.in(1), c.in(0).size(1), c.in(1).size(0));
  return {ops::matmul(c.in(0), c.in(1))};
}

TensorList mm(const OpCall& c) {
  expect_dims(c, 0, 2, "a matrix as input");
  expect_dims(c, 1, 2, "a matrix as mat2");
  expect_inner(c, c.in(0), c.in(1), c.in(0).size(1), c.in(1).size(0));
  return {ops::matmul(c.in(0), c.in(1))};
}

void check_batches(const OpCall& c, int a, int b) {
  expect_dims(c, a, 3, "three dimensions (batch, n, k)");
  expect_dims(c, b, 3, "three dimensions (batch, k, m)");
  ANNX_CHECK(c.in(a).size(0) == c.in(b).size(0), value, c.name(),
             "expected equal batch sizes but got shapes ", c.in(a).shape(), " and ",
             c.in(b).shape());
  expect_inner(c, c.in(a), c.in(b), c.in(a).size(2), c.in(b).size(1));
}

TensorList bmm(const OpCall& c) {
  check_batches(c, 0, 1);
  return {ops::matmul(c.in(0), c.in(1))};
}

// beta * input + alpha * product; beta = 0 leaves input out, NaN and all.
Tensor blend(const OpCall& c, const Tensor& product) {
  const double beta = c.attr(0).f(), alpha = c.attr(1).f();
  const Tensor scaled = alpha == 1 ? product : ops::mul(product, ops::number(alpha));
  const Dims shape = broadcast_shapes(c.in(0).shape(), product.shape(), c.name());
  ANNX_CHECK(shape == product.shape(), value, c.name(), "expected an input that broadcasts to ",
             product.shape(), " but got shape ", c.in(0).shape());
  if (beta == 0) return scaled;
  return ops::add(beta == 1 ? c.in(0) : ops::mul(c.in(0), ops::number(beta)), scaled);
}

TensorList addmm(const OpCall& c) {
  expect_dims(c, 1, 2, "a matrix as mat1");
  expect_dims(c, 2, 2, "a matrix as mat2");
  expect_inner(c, c.in(1), c.in(2), c.in(1).size(1), c.in(2).size(0));
  return {blend(c, ops::matmul(c.in(1), c.in(2)))};
}

TensorList addmv(const OpCall& c) {
  expect_dims(c, 1, 2, "a matrix as mat");
  expect_dims(c, 2, 1, "a vector as vec");
  expect_inner(c, c.in(1), c.in(2), c.in(1).size(1), c.in(2).size(0));
  return {blend(c, ops::matmul(c.in(1), c.in(2)))};
}

TensorList baddbmm(const OpCall& c) {
  check_batches(c, 1, 2);
  return {blend(c, ops::matmul(c.in(1), c.in(2)))};
}

}  // namespace

namespace def {

#define ANNX_PRODUCT(id, text_of_parameters, text)       \
  const OpDef id = {.name = #id,                         \
                    .signature = #id text_of_parameters, \
                    .doc = text,                         \
                    .composite = annx::id,               \
                    .flags = kPromote};
ANNX_PRODUCT(dot, "(Tensor input, Tensor tensor) -> Tensor", "Inner product of two vectors.")
ANNX_PRODUCT(outer, "(Tensor input, Tensor vec2) -> Tensor",
             "The matrix of all products of two vectors' elements.")
ANNX_PRODUCT(mv, "(Tensor input, Tensor vec) -> Tensor", "Matrix (n, m) times vector (m,).")
ANNX_PRODUCT(mm, "(Tensor input, Tensor mat2) -> Tensor", "Matrix (n, k) times matrix (k, m).")
ANNX_PRODUCT(bmm, "(Tensor input, Tensor mat2) -> Tensor",
             "Matrices (batch, n, k) times matrices (batch, k, m).")
ANNX_PRODUCT(addmm,
             "(Tensor input, Tensor mat1, Tensor mat2, *, float beta=1.0, float alpha=1.0) -> "
             "Tensor",
             "beta * input + alpha * (mat1 @ mat2); input broadcasts to the product.")
ANNX_PRODUCT(addmv,
             "(Tensor input, Tensor mat, Tensor vec, *, float beta=1.0, float alpha=1.0) -> "
             "Tensor",
             "beta * input + alpha * (mat @ vec); input broadcasts to the product.")
ANNX_PRODUCT(baddbmm,
             "(Tensor input, Tensor batch1, Tensor batch2, *, float beta=1.0, float alpha=1.0) -> "
             "Tensor",
             "beta * input + alpha * (batch1 @ batch2) for batches of matrices.")

}  // namespace def
}  // namespace annx
