#include "ops/indexing/walk.h"

namespace annx {

Tensor as_positions(const Tensor& indices, const char* op) {
  ANNX_CHECK(is_integral(indices.dtype()) && indices.dtype() != DType::b8, type, op,
             "expected integer indices but got dtype ", indices.dtype());
  GradModeGuard no_grad(false);
  return ops::contiguous(ops::cast(indices, DType::i64));
}

Slabs slabs_of(const Dims& shape, int dim) {
  Slabs s;
  for (int i = 0; i < shape.size(); ++i) {
    if (i < dim) s.outer *= shape[i];
    if (i == dim) s.size = shape[i];
    if (i > dim) s.inner *= shape[i];
  }
  return s;
}

namespace {

template <class T>
void add_typed(void* dst, const void* src, int64_t n) {
  T* d = static_cast<T*>(dst);
  const T* s = static_cast<const T*>(src);
  for (int64_t i = 0; i < n; ++i) d[i] = static_cast<T>(d[i] + s[i]);
}

}  // namespace

void add_row(void* dst, const void* src, int64_t n, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return add_typed<float>(dst, src, n);
    case DType::f64:
      return add_typed<double>(dst, src, n);
    case DType::i64:
      return add_typed<uint64_t>(dst, src, n);
    case DType::i32:
      return add_typed<uint32_t>(dst, src, n);
    case DType::u8:
      return add_typed<uint8_t>(dst, src, n);
    default:
      break;
  }
  auto* d = static_cast<uint8_t*>(dst);
  const auto* s = static_cast<const uint8_t*>(src);
  for (int64_t i = 0; i < n; ++i) d[i] |= s[i];
}

IndexPlan plan_index(const Dims& input, const TensorList& inputs, int first, const Ints& dims,
                     const char* op) {
  IndexPlan p;
  ANNX_CHECK(inputs.size() - first == dims.size() && dims.size() > 0, value, op,
             "expected one array per indexed dimension but got ", inputs.size() - first,
             " arrays and dims ", dims);
  for (int64_t d : dims) p.dims.push_back(normalize_dim(d, input.size(), op));
  for (int i = first; i < inputs.size(); ++i)
    p.array_shape = broadcast_shapes(p.array_shape, inputs[i].shape(), op);
  bool adjacent = true;
  for (int i = 1; i < p.dims.size(); ++i) adjacent = adjacent && p.dims[i] == p.dims[i - 1] + 1;
  // Arrays in neighbouring dimensions stay in place, others move to the front (NumPy's rule).
  p.position = adjacent ? static_cast<int>(p.dims[0]) : 0;
  for (int i = 0; i < input.size(); ++i)
    if (!p.dims.contains(i)) p.rest.push_back(i);
  for (int i = 0; i < p.rest.size(); ++i) {
    if (i == p.position)
      for (int64_t s : p.array_shape) p.shape.push_back(s);
    p.shape.push_back(input[static_cast<int>(p.rest[i])]);
  }
  if (p.position >= p.rest.size())
    for (int64_t s : p.array_shape) p.shape.push_back(s);
  return p;
}

void check_gather(const Dims& input, const Tensor& index, int d, const char* op) {
  ANNX_CHECK(is_integral(index.dtype()) && index.dtype() != DType::b8, type, op,
             "expected integer indices but got dtype ", index.dtype());
  ANNX_CHECK(index.dim() == input.size(), value, op, "expected an index of ", input.size(),
             " dimensions but got shape ", index.shape());
  for (int i = 0; i < input.size(); ++i)
    ANNX_CHECK(i == d || index.size(i) <= input[i], value, op, "expected an index no larger than ",
               input, " outside dim ", d, " but got shape ", index.shape());
}

Cost scatter_cost(const OpCall& c) {
  const Tensor& added = c.has(2) && !is_integral(c.in(2).dtype()) ? c.in(2) : c.in(0);
  double bytes = static_cast<double>(c.out().nbytes()) + 3 * static_cast<double>(added.nbytes());
  for (const Tensor& t : c.inputs)
    if (is_integral(t.dtype())) bytes += static_cast<double>(t.nbytes());
  return {static_cast<double>(added.numel()), bytes};
}

}  // namespace annx
