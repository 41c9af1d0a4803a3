#include "ops/functional.h"

#include "ops/device.h"

namespace annx::ops {

Tensor number(double value) {
  Tensor t = Tensor::scalar(value, DType::f64);
  t.impl()->wrapped_number = true;
  return t;
}

Tensor full(const Dims& shape, double value, DType dtype, Device device) {
  return call(def::full, {}, {Attr(shape), Attr(value), Attr(dtype), device_attr(device)});
}

Tensor to_device(const Tensor& x, Device device) {
  return x.device() == device
             ? x
             : call(def::to_device, {x}, {device_attr(device), device_attr(x.device())});
}

Tensor sum_to(const Tensor& x, const Dims& shape) {
  if (x.shape() == shape) return x;
  const int lead = x.dim() - shape.size();
  Dims axes;
  for (int i = 0; i < x.dim(); ++i)
    if (i < lead || (shape[i - lead] == 1 && x.size(i) != 1)) axes.push_back(i);
  const Tensor summed = axes.empty() ? x : sum(x, axes, true);
  return reshape(summed, shape);
}

}  // namespace annx::ops
