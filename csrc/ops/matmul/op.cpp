// matmul, with any broadcast of batches, over gemm/.
#include <algorithm>

#include "core/thread_pool.h"
#include "gemm/gemm.h"
#include "ops/functional.h"
#include "ops/reduce/float_ops.h"

namespace annx {
namespace {

struct MatmulShape {
  int64_t m, n, k;
  Dims batch;  // broadcast batch dimensions
};

MatmulShape matmul_shape(const Tensor& a, const Tensor& b) {
  ANNX_CHECK(a.dim() > 0 && b.dim() > 0, value, "matmul",
             "expected operands of at least one dimension but got shapes ", a.shape(), " and ",
             b.shape());
  const int64_t m = a.dim() > 1 ? a.size(-2) : 1, k = a.size(-1);
  const int64_t kb = b.dim() > 1 ? b.size(-2) : b.size(0), n = b.dim() > 1 ? b.size(-1) : 1;
  ANNX_CHECK(k == kb, value, "matmul", "expected inner sizes to agree but got shapes ", a.shape(),
             " and ", b.shape(), " (", k, " and ", kb, ")");
  Dims batch_a, batch_b;
  for (int i = 0; i + 2 < a.dim(); ++i) batch_a.push_back(a.size(i));
  for (int i = 0; i + 2 < b.dim(); ++i) batch_b.push_back(b.size(i));
  return {m, n, k, broadcast_shapes(batch_a, batch_b, "matmul")};
}

void matmul_infer(const OpCall& c, OutputSpecs& specs) {
  const Tensor &a = c.in(0), &b = c.in(1);
  const DType t = a.dtype();
  ANNX_CHECK(t != DType::b8 && t != DType::u8, type, "matmul",
             "expected a floating, int32 or int64 dtype but got ", t);
  const MatmulShape s = matmul_shape(a, b);
  Dims shape = s.batch;
  if (a.dim() > 1) shape.push_back(s.m);
  if (b.dim() > 1) shape.push_back(s.n);
  numel_of(shape, "matmul");
  specs.push_back({shape, t});
}

// Row and column strides of the matrix in the last two dimensions.
void matrix_strides(const Tensor& t, bool left, int64_t* rs, int64_t* cs) {
  if (t.dim() > 1) {
    *rs = t.stride(-2);
    *cs = t.stride(-1);
  } else {
    *rs = left ? 0 : t.stride(0);
    *cs = left ? t.stride(0) : 1;
  }
}

int64_t batch_stride(const Tensor& t, int i, int batch_dims) {
  const int at = i - (batch_dims - (t.dim() - 2));
  return t.dim() <= 2 || at < 0 || t.size(at) == 1 ? 0 : t.stride(at);
}

template <class T>
void matmul_float(const Tensor& a, const Tensor& b, const Tensor& out, const MatmulShape& s) {
  GemmArgs<T> args;
  args.m = s.m, args.n = s.n, args.k = s.k;
  args.a = a.data<T>(), args.b = b.data<T>(), args.c = out.data<T>();
  matrix_strides(a, true, &args.a_rs, &args.a_cs);
  matrix_strides(b, false, &args.b_rs, &args.b_cs);
  args.c_rs = s.n;
  const int nb = s.batch.size();
  // Rows of a batched left operand against one matrix are one tall product.
  if (nb > 0 && b.dim() <= 2 && a.is_contiguous()) {
    args.m = a.numel() / std::max<int64_t>(s.k, 1);
    if (s.k == 0) args.m = out.numel() / std::max<int64_t>(s.n, 1);
    args.a_rs = s.k, args.a_cs = 1;
    return gemm(args);
  }
  // The last two batch dimensions go to gemm_batched, those before it are walked here.
  GemmBatch batch;
  if (nb >= 1) {
    batch.inner = s.batch[nb - 1];
    batch.a_inner = batch_stride(a, nb - 1, nb), batch.b_inner = batch_stride(b, nb - 1, nb);
    batch.c_inner = s.m * s.n;
  }
  if (nb >= 2) {
    batch.outer = s.batch[nb - 2];
    batch.a_outer = batch_stride(a, nb - 2, nb), batch.b_outer = batch_stride(b, nb - 2, nb);
    batch.c_outer = batch.c_inner * batch.inner;
  }
  int64_t rest = 1;
  for (int i = 0; i + 2 < nb; ++i) rest *= s.batch[i];
  for (int64_t r = 0; r < rest; ++r) {
    GemmArgs<T> part = args;
    int64_t index = r;
    for (int i = nb - 3; i >= 0; --i) {
      part.a += (index % s.batch[i]) * batch_stride(a, i, nb);
      part.b += (index % s.batch[i]) * batch_stride(b, i, nb);
      index /= s.batch[i];
    }
    part.c += r * batch.outer * batch.inner * s.m * s.n;
    if (nb == 0)
      gemm(part);
    else
      gemm_batched(part, batch);
  }
}

// Two vectors: a sum over their elements and not a matrix product, whose elements are one chain each
// (docs/decisions/0018).
template <class T>
void dot(const OpCall& c) {
  GradModeGuard no_grad(false);
  const Tensor a = ops::contiguous(c.in(0)), b = ops::contiguous(c.in(1));
  const T *x = a.data<T>(), *y = b.data<T>();
  const int64_t n = a.numel(),
                pieces = std::max<int64_t>(1, (n + reduce::kPiece - 1) / reduce::kPiece);
  const Tensor buffer = reduce::scratch<double>(pieces);
  auto* partial = buffer.data<double>();
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t at = p * reduce::kPiece;
      partial[p] = reduce::kernels<T>().dot(x + at, y + at, std::min(reduce::kPiece, n - at));
    }
  });
  double total = 0;
  for (int64_t p = 0; p < pieces; ++p) total += partial[p];
  *c.out().data<T>() = static_cast<T>(total);
}

// Integers: exact, and rare enough for plain loops (sums wrap as NumPy's do).
template <class T>
void matmul_int(const Tensor& a, const Tensor& b, const Tensor& out, const MatmulShape& s) {
  using U = std::make_unsigned_t<T>;
  int64_t ars, acs, brs, bcs;
  matrix_strides(a, true, &ars, &acs);
  matrix_strides(b, false, &brs, &bcs);
  const int nb = s.batch.size();
  int64_t batches = 1;
  for (int64_t d : s.batch) batches *= d;
  T* o = out.data<T>();
  for (int64_t r = 0; r < batches; ++r, o += s.m * s.n) {
    const T *pa = a.data<T>(), *pb = b.data<T>();
    int64_t index = r;
    for (int i = nb - 1; i >= 0; --i) {
      pa += (index % s.batch[i]) * batch_stride(a, i, nb);
      pb += (index % s.batch[i]) * batch_stride(b, i, nb);
      index /= s.batch[i];
    }
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) {
        U sum = 0;
        for (int64_t p = 0; p < s.k; ++p)
          sum += static_cast<U>(pa[i * ars + p * acs]) * static_cast<U>(pb[p * brs + j * bcs]);
        *o++ = static_cast<T>(sum);
      }
  }
}

void matmul_kernel(const OpCall& c) {
  const Tensor &a = c.in(0), &b = c.in(1);
  if (c.out().numel() == 0) return;
  if (a.dim() == 1 && b.dim() == 1 && is_floating(a.dtype()))
    return a.dtype() == DType::f32 ? dot<float>(c) : dot<double>(c);
  const MatmulShape s = matmul_shape(a, b);
  switch (a.dtype()) {
    case DType::f32:
      return matmul_float<float>(a, b, c.out(), s);
    case DType::f64:
      return matmul_float<double>(a, b, c.out(), s);
    case DType::i64:
      return matmul_int<int64_t>(a, b, c.out(), s);
    default:
      return matmul_int<int32_t>(a, b, c.out(), s);
  }
}

void matmul_rule(BackwardCall& call) {
  Tensor a = call.input(0), b = call.input(1), g = call.grad();
  const bool vector_a = a.dim() == 1, vector_b = b.dim() == 1;
  if (vector_a && vector_b) {
    if (call.needs(0)) call.set(0, g * b);
    if (call.needs(1)) call.set(1, g * a);
    return;
  }
  if (vector_a) {
    a = ops::unsqueeze(a, 0);
    g = ops::unsqueeze(g, -2);
  }
  if (vector_b) {
    b = ops::unsqueeze(b, 1);
    g = ops::unsqueeze(g, -1);
  }
  if (call.needs(0)) {
    Tensor d = ops::sum_to(ops::matmul(g, ops::transpose(b, -2, -1)), a.shape());
    call.set(0, ops::reshape(d, call.input_shape(0)));
  }
  if (call.needs(1)) {
    Tensor d;
    if (b.dim() == 2 && a.dim() > 2) {  // one product over all batches
      const Tensor rows = ops::rows_of(a);
      d = ops::matmul(ops::transpose(rows, 0, 1), ops::rows_of(g));
    } else {
      d = ops::sum_to(ops::matmul(ops::transpose(a, -2, -1), g), b.shape());
    }
    call.set(1, ops::reshape(d, call.input_shape(1)));
  }
}

Cost matmul_cost(const OpCall& c) {
  const MatmulShape s = matmul_shape(c.in(0), c.in(1));
  return {2.0 * static_cast<double>(s.k) * static_cast<double>(c.out().numel()),
          static_cast<double>(c.in(0).nbytes() + c.in(1).nbytes() + c.out().nbytes())};
}

}  // namespace

namespace def {

const OpDef matmul = {
    .name = "matmul",
    .signature = "matmul(Tensor input, Tensor other) -> Tensor",
    .doc =
        "Matrix product of the last two dimensions; the dimensions before them broadcast. A "
        "vector on the left is a row, on the right a column, and that dimension is dropped. Of two "
        "vectors it is the sum over their elements that `dot` gives.",
    .infer = matmul_infer,
    .kernel = matmul_kernel,
    .backward = matmul_rule,
    .cost = matmul_cost,
    .saves = save_input(0) | save_input(1),
    .flags = kPromote};

}  // namespace def
}  // namespace annx
