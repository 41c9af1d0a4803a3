#include "core/layout.h"

namespace annx {

Dims channels_last_strides(const Dims& shape) {
  Dims strides = contiguous_strides(shape);
  if (shape.size() < 3) return strides;
  int64_t step = 1;
  const auto place = [&](int i) {
    strides[i] = step;
    step *= shape[i] > 0 ? shape[i] : 1;
  };
  place(1);
  for (int i = shape.size() - 1; i >= 2; --i) place(i);
  place(0);
  return strides;
}

bool is_channels_last(const Dims& shape, const Dims& strides) {
  const Dims expected = channels_last_strides(shape);
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != expected[i]) return false;
  }
  return true;
}

Dims memory_order(const Dims& strides) {
  Dims order;
  for (int i = 0; i < strides.size(); ++i) {
    int at = i;
    while (at > 0 && strides[static_cast<int>(order[at - 1])] < strides[i]) --at;
    order.insert(at, i);
  }
  return order;
}

bool is_dense_layout(const Dims& shape, const Dims& strides) {
  const Dims order = memory_order(strides);
  int64_t expected = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    const int d = static_cast<int>(order[i]);
    if (shape[d] == 0) return true;
    if (shape[d] == 1) continue;
    if (strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

Dims kept_layout(const Tensor* inputs, int count, const Dims& shape) {
  for (int i = 0; i < count; ++i) {
    const Tensor& t = inputs[i];
    if (t.defined() && !t.is_contiguous() && t.shape() == shape &&
        is_dense_layout(shape, t.strides()))
      return t.strides();
  }
  return {};
}

}  // namespace annx
