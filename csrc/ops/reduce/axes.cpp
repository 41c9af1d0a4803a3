#include "ops/reduce/axes.h"

#include <algorithm>

#include "core/layout.h"

namespace annx::reduce {

Dims axes_of(const Attr& dim, int ndim, const char* op) {
  Dims axes;
  if (dim.kind() == Attr::Kind::integer) {
    const int axis = normalize_dim(dim.i(), ndim, op);
    if (ndim > 0) axes.push_back(axis);
    return axes;
  }
  if (dim.is_none() || dim.ints().empty()) {
    for (int i = 0; i < ndim; ++i) axes.push_back(i);
    return axes;
  }
  bool seen[kMaxDims] = {};
  for (int64_t d : dim.ints()) {
    const int axis = normalize_dim(d, ndim, op);
    ANNX_CHECK(!seen[axis], value, op, "expected distinct axes but got dim ", dim.ints());
    seen[axis] = true;
  }
  for (int i = 0; i < ndim; ++i)
    if (seen[i]) axes.push_back(i);
  return axes;
}

Dims reduced_shape(const Dims& shape, const Dims& axes, bool keepdim) {
  Dims out;
  int next = 0;
  for (int i = 0; i < shape.size(); ++i) {
    if (next < axes.size() && axes[next] == i) {
      ++next;
      if (keepdim) out.push_back(1);
    } else {
      out.push_back(shape[i]);
    }
  }
  return out;
}

int64_t count_along(const Dims& shape, const Dims& axes) {
  int64_t count = 1;
  for (int64_t a : axes) count *= shape[static_cast<int>(a)];
  return count;
}

Tensor keep_axes(const Tensor& g, const Dims& input_shape, const Dims& axes) {
  return ops::reshape(g, reduced_shape(input_shape, axes, true));
}

Tensor prepare(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype && x.is_contiguous()) return x;
  GradModeGuard no_grad(false);
  return ops::contiguous(ops::cast(x, dtype));
}

Prepared prepare_unordered(const Tensor& x, const Dims& axes, DType dtype) {
  if (x.is_contiguous() || !is_dense_layout(x.shape(), x.strides()))
    return {prepare(x, dtype), axes};
  Dims shape, strides, moved;
  int64_t last_kept = -1;
  for (int64_t d : memory_order(x.strides())) {
    const int i = static_cast<int>(d);
    if (axes.contains(d)) {
      moved.push_back(shape.size());
    } else if (x.size(i) != 1) {
      if (d < last_kept) return {prepare(x, dtype), axes};
      last_kept = d;
    }
    shape.push_back(x.size(i));
    strides.push_back(x.stride(i));
  }
  return {prepare(Tensor::view_of(x, shape, strides, x.offset()), dtype), moved};
}

Dims axes_last_order(int ndim, const Dims& axes) {
  Dims order;
  for (int i = 0; i < ndim; ++i)
    if (!axes.contains(i)) order.push_back(i);
  for (int64_t a : axes) order.push_back(a);
  return order;
}

Dims inverse_order(const Dims& order) {
  Dims inverse(order.size(), 0);
  for (int i = 0; i < order.size(); ++i) inverse[static_cast<int>(order[i])] = i;
  return inverse;
}

Tensor axes_last(const Tensor& x, const Dims& axes) {
  GradModeGuard no_grad(false);
  const int64_t n = count_along(x.shape(), axes);
  int64_t outer = 1;
  for (int i = 0; i < x.dim(); ++i)
    if (!axes.contains(i)) outer *= x.size(i);
  const Dims order = axes_last_order(x.dim(), axes);
  bool in_place = true;
  for (int i = 0; i < order.size(); ++i) in_place = in_place && order[i] == i;
  const Tensor moved = in_place ? x : ops::permute(x, order);
  return ops::reshape(ops::contiguous(moved), {outer, n});
}

void infer_reduced(const OpCall& c, OutputSpecs& specs, DType dtype) {
  const Tensor& x = c.in(0);
  const Dims axes = axes_of(c.attr(0), x.dim(), c.name());
  specs.push_back({reduced_shape(x.shape(), axes, c.attr(1).b()), dtype});
}

void check_not_empty(const OpCall& c, const Dims& axes) {
  const Dims& shape = c.in(0).shape();
  ANNX_CHECK(count_along(shape, axes) > 0, value, c.name(),
             "expected at least one element to reduce but got shape ", shape, " along dim ", axes);
}

Cost reduction_cost(const OpCall& c) {
  double bytes = static_cast<double>(c.in(0).nbytes());
  for (const Tensor& t : c.outputs) bytes += static_cast<double>(t.nbytes());
  return {static_cast<double>(c.in(0).numel()), bytes};
}

SpanList split_axes(const Dims& shape, const Dims& axes) {
  struct Run {
    int64_t size;
    bool reduced;
  };
  Run runs[kMaxDims];
  int count = 0;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    const bool reduced = axes.contains(i);
    if (count > 0 && runs[count - 1].reduced == reduced) {
      runs[count - 1].size *= shape[i];
    } else {
      runs[count++] = {shape[i], reduced};
    }
  }
  SpanList list;
  int64_t inner = 1;
  for (int i = count - 1; i >= 0; --i) {
    if (!runs[i].reduced) {
      inner *= runs[i].size;
      continue;
    }
    Span span{1, runs[i].size, inner};
    for (int k = 0; k < i; ++k) span.outer *= runs[k].size;
    list.spans[list.count++] = span;
  }
  if (list.count == 0) list.spans[list.count++] = {1, 1, inner};
  return list;
}

}  // namespace annx::reduce
