// Probes of the machine for `annx bench`.
#include "bench/probe.h"

#include "bindings/py.h"

namespace annx::python {

namespace {

const Tensor& float_array(py::handle o, const char* probe) {
  ANNX_CHECK(is_tensor(o.ptr()), type, probe, "expected a Tensor");
  const Tensor& t = tensor_of(o.ptr());
  ANNX_CHECK(t.dtype() == DType::f32 && t.is_contiguous() && t.device().is_cpu(), value, probe,
             "expected a contiguous float32 tensor on cpu but got ", t.dtype(), " of shape ",
             t.shape());
  return t;
}

double bench_triad(py::handle a, py::handle b, py::handle out, int64_t passes) {
  const char* const probe = "bench_triad";
  const Tensor &x = float_array(a, probe), &y = float_array(b, probe), &z = float_array(out, probe);
  ANNX_CHECK(x.numel() == y.numel() && x.numel() == z.numel(), value, probe,
             "expected three tensors of one size but got ", x.numel(), ", ", y.numel(), " and ",
             z.numel());
  return probe_triad(x.data<float>(), y.data<float>(), z.data<float>(), x.numel(), passes);
}

double bench_stream(py::handle a, py::handle b, py::handle out, int way, int64_t passes) {
  const char* const probe = "bench_stream";
  const Tensor &x = float_array(a, probe), &z = float_array(out, probe);
  const Tensor y = b.is_none() ? Tensor() : float_array(b, probe);
  ANNX_CHECK(x.numel() == z.numel() && (!y.defined() || y.numel() == x.numel()), value, probe,
             "expected tensors of one size but got ", x.numel(), " and ", z.numel());
  ANNX_CHECK(way >= 0 && way < kStreamWays, value, probe, "expected a way in [0, ", kStreamWays,
             ") but got ", way);
  return probe_stream(x.data<float>(), y.defined() ? y.data<float>() : nullptr, z.data<float>(),
                      x.numel(), way, passes);
}

}  // namespace

void init_bench(py::module_& m) {
  m.def("bench_fma", probe_fma, "Runs fma chains on every thread; returns the flops done.");
  m.def(
      "bench_split", probe_split,
      "bench_fma in two halves of `rounds`, `regions` times back to back; returns the flops done.");
  m.def("bench_triad", bench_triad, "out = a + 2 b on every thread; returns the bytes moved.");
  m.attr("bench_stream_ways") = kStreamWays;
  m.def(
      "bench_stream", bench_stream,
      "out = a + b, or a where b is None, on every thread, by ordinary stores or past the caches; "
      "returns the bytes moved.");
  m.def("bench_reference_gemm", probe_reference_gemm,
        "A small product that never changes, on every thread; returns the flops done.");
}

}  // namespace annx::python
