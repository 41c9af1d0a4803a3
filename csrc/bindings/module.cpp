// The extension module annx._core.
#include "bindings/py.h"

PYBIND11_MODULE(_core, m) {
  namespace py = pybind11;
  using namespace annx::python;
  m.doc() = "Native core of annx.";
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const annx::Error&) {
      set_error();
    }
  });
  init_runtime(m);
  init_optim(m);
  init_cuda(m);
  init_dtype_type(m);
  init_tensor_type(m);
  init_op_functions(m);
  init_autograd(m);
  init_dlpack(m);
  init_program(m);
  init_bench(m);
}
