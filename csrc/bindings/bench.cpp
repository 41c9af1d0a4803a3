// Probes of the machine for `annx bench`.
#include "bench/probe.h"

#include "bindings/py.h"

namespace annx::python {

namespace {

const Tensor& float_array(py::handle o) {
  ANNX_CHECK(is_tensor(o.ptr()), type, "bench_triad", "expected a Tensor");
  const Tensor& t = tensor_of(o.ptr());
  ANNX_CHECK(t.dtype() == DType::f32 && t.is_contiguous() && t.device().is_cpu(), value,
             "bench_triad", "expected a contiguous float32 tensor on cpu but got ", t.dtype(),
             " of shape ", t.shape());
  return t;
}

double bench_triad(py::handle a, py::handle b, py::handle out, int64_t passes) {
  const Tensor &x = float_array(a), &y = float_array(b), &z = float_array(out);
  ANNX_CHECK(x.numel() == y.numel() && x.numel() == z.numel(), value, "bench_triad",
             "expected three tensors of one size but got ", x.numel(), ", ", y.numel(), " and ",
             z.numel());
  return probe_triad(x.data<float>(), y.data<float>(), z.data<float>(), x.numel(), passes);
}

}  // namespace

void init_bench(py::module_& m) {
  m.def("bench_fma", probe_fma, "Runs fma chains on every thread; returns the flops done.");
  m.def("bench_triad", bench_triad, "out = a + 2 b on every thread; returns the bytes moved.");
  m.def("bench_reference_gemm", probe_reference_gemm,
        "A small product that never changes, on every thread; returns the flops done.");
}

}  // namespace annx::python
