// The tape for Python: backward, grad, hooks, custom gradients, grad mode.
#include "autograd/checkpoint.h"
#include "bindings/py.h"

namespace annx::python {

namespace {

// A Python callable that may be dropped by a thread without the GIL.
class Callback {
 public:
  explicit Callback(py::object fn) : fn_(std::make_shared<Holder>(std::move(fn))) {}
  const py::object& get() const { return fn_->object; }

 private:
  struct Holder {
    explicit Holder(py::object o) : object(std::move(o)) {}
    ~Holder() {
      if (!Py_IsInitialized()) {
        object.release();
        return;
      }
      py::gil_scoped_acquire gil;
      object = py::object();
    }
    py::object object;
  };
  std::shared_ptr<Holder> fn_;
};

TensorList tensor_list(const py::handle& o, const char* op, const char* argument) {
  TensorList out;
  if (is_tensor(o.ptr())) {
    out.push_back(tensor_of(o.ptr()));
    return out;
  }
  for (py::handle item : py::iter(o)) {
    if (item.is_none()) {
      out.emplace_back();
    } else {
      ANNX_CHECK(is_tensor(item.ptr()), type, op, "argument '", argument,
                 "': expected Tensors but got ", Py_TYPE(item.ptr())->tp_name);
      out.push_back(tensor_of(item.ptr()));
    }
  }
  return out;
}

py::object to_python(const Tensor& t) { return py::reinterpret_steal<py::object>(wrap(t)); }

Tensor from_python(const py::object& o, const char* op) {
  if (o.is_none()) return Tensor();
  ANNX_CHECK(is_tensor(o.ptr()), type, op, "expected a Tensor or None from the function but got ",
             Py_TYPE(o.ptr())->tp_name);
  return tensor_of(o.ptr());
}

void backward(py::handle outputs, py::handle gradients, bool retain_graph, bool create_graph) {
  autograd::backward(
      tensor_list(outputs, "backward", "tensors"),
      gradients.is_none() ? TensorList() : tensor_list(gradients, "backward", "gradient"),
      retain_graph, create_graph);
}

py::tuple grad(py::handle outputs, py::handle inputs, py::handle gradients, bool retain_graph,
               bool create_graph, bool allow_unused) {
  const TensorList wanted = tensor_list(inputs, "grad", "inputs");
  for (const Tensor& t : wanted) note_look(t);
  const TensorList out = autograd::grad(
      tensor_list(outputs, "grad", "outputs"), wanted,
      gradients.is_none() ? TensorList() : tensor_list(gradients, "grad", "grad_outputs"),
      retain_graph, create_graph);
  for (int i = 0; i < out.size(); ++i)
    ANNX_CHECK(out[i].defined() || allow_unused, runtime, "grad",
               "expected every input to take "
               "part in the outputs but input ",
               i, " of shape ", wanted[i].shape(), " does not: pass allow_unused=True to get None");
  return py::reinterpret_steal<py::tuple>(wrap_tuple(out));
}

py::tuple custom_function(const py::object& rule, py::handle inputs, py::handle outputs,
                          const std::string& label) {
  const TensorList in = tensor_list(inputs, "custom_function", "inputs");
  std::vector<std::pair<Dims, bool>> shapes;
  for (const Tensor& t : in) shapes.emplace_back(t.shape(), t.requires_grad());
  const char* op = intern(label.c_str());
  Callback callback(rule);
  auto backward = [callback, shapes, op](const TensorList& grads) {
    py::gil_scoped_acquire gil;
    py::object result = callback.get()(*py::reinterpret_steal<py::tuple>(wrap_tuple(grads)));
    if (result.is_none() || is_tensor(result.ptr())) result = py::make_tuple(result);
    TensorList out = tensor_list(result, op, "gradients");
    ANNX_CHECK(out.size() == static_cast<int>(shapes.size()), value, op, "expected ", shapes.size(),
               " gradients from the backward function but got ", out.size());
    for (int i = 0; i < out.size(); ++i) {
      const Dims& shape = shapes[static_cast<size_t>(i)].first;
      ANNX_CHECK(!out[i].defined() || out[i].shape() == shape, value, op,
                 "expected a gradient of shape ", shape, " for input ", i, " but got ",
                 out[i].shape());
    }
    return out;
  };
  return py::reinterpret_steal<py::tuple>(wrap_tuple(autograd::custom_function(
      op, in, tensor_list(outputs, "custom_function", "outputs"), backward)));
}

py::object checkpoint(const py::object& first, const py::object& again, py::handle arguments,
                      bool keep_random) {
  const Callback callback(again);
  auto run_again = [callback](const TensorList& tensors) {
    py::gil_scoped_acquire gil;
    callback.get()(*py::reinterpret_steal<py::tuple>(wrap_tuple(tensors)));
  };
  const Ref<autograd::Checkpoint> c(new autograd::Checkpoint(
      run_again, tensor_list(arguments, "checkpoint", "arguments"), keep_random));
  py::object result;
  c->run([&] { result = first(); });
  return result;
}

int register_hook(py::handle tensor, const py::object& hook) {
  ANNX_CHECK(is_tensor(tensor.ptr()), type, "register_hook", "expected a Tensor");
  Callback callback(hook);
  note_change(tensor_of(tensor.ptr()));
  return autograd::add_hook(tensor_of(tensor.ptr()), [callback](const Tensor& grad) {
    py::gil_scoped_acquire gil;
    return from_python(callback.get()(to_python(grad)), "register_hook");
  });
}

}  // namespace

void init_autograd(py::module_& m) {
  autograd::install();
  m.def("backward", backward, py::arg("tensors"), py::arg("gradient") = py::none(),
        py::arg("retain_graph") = false, py::arg("create_graph") = false,
        "Adds the gradients of tensors to the grad of every leaf.");
  m.def("grad", grad, py::arg("outputs"), py::arg("inputs"), py::arg("grad_outputs") = py::none(),
        py::arg("retain_graph") = false, py::arg("create_graph") = false,
        py::arg("allow_unused") = false, "Gradients of outputs with respect to inputs.");
  m.def("custom_function", custom_function, py::arg("backward"), py::arg("inputs"),
        py::arg("outputs"), py::arg("name") = "custom_gradient",
        "Attaches outputs to the graph with a gradient written in Python.");
  m.def("checkpoint", checkpoint, py::arg("first"), py::arg("again"), py::arg("arguments"),
        py::arg("keep_random"), "Calls first; again makes anew what its gradient needs.");
  m.def("recomputing", recomputing, "Whether a checkpoint runs its function again.");
  m.def("register_hook", register_hook, "Adds a hook on a tensor's gradient; returns its id.");
  m.def("remove_hook", [](py::handle t, int id) {
    ANNX_CHECK(is_tensor(t.ptr()), type, "remove_hook", "expected a Tensor");
    note_change(tensor_of(t.ptr()));
    autograd::remove_hook(tensor_of(t.ptr()), id);
  });
  m.def("is_grad_enabled", grad_enabled, "Whether ops of this thread are recorded.");
  m.def("set_grad_enabled", set_grad_enabled, "Turns recording of this thread on or off.");
}

}  // namespace annx::python
