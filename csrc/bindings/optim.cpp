// What Python's optimizers do for all parameters at once: the state of their first step, and what
// the native steps read.
#include <cstring>
#include <utility>
#include <vector>

#include "bindings/py.h"

namespace annx::python {

namespace {

void write_hyper(py::handle tensor, const py::sequence& values) {
  ANNX_CHECK(is_tensor(tensor.ptr()), type, "write_hyper", "expected a Tensor");
  const Tensor& t = tensor_of(tensor.ptr());
  ANNX_CHECK(t.dtype() == DType::f64 && t.is_contiguous() &&
                 t.numel() == static_cast<int64_t>(values.size()),
             value, "write_hyper", "expected a float64 tensor of ", values.size(),
             " elements but got ", t.dtype(), " of shape ", t.shape());
  for (size_t i = 0; i < values.size(); ++i) {
    // Also of tensors of one element, as PyTorch's learning rates may be.
    const double number = PyFloat_AsDouble(py::object(values[i]).ptr());
    if (number == -1.0 && PyErr_Occurred()) throw py::error_already_set();
    t.data<double>()[i] = number;
  }
  t.storage()->bump_version();
}

// Float64 zeros that no op makes: what native steps read belongs to no captured call.
Tensor hyper_tensor(int64_t length) {
  Tensor out = Tensor::empty(Dims{length}, DType::f64);
  std::memset(out.raw(), 0, static_cast<size_t>(length) * sizeof(double));
  return out;
}

// A number of a parameter's state, likewise made by no op.
Tensor state_number(double value) { return Tensor::scalar(value, DType::f32); }

// Parameters that one native call updates: of one dtype and device, after as many steps.
struct Group {
  DType dtype;
  Device device;
  int64_t count;
  bool first;
  py::list params;
  std::vector<py::list> slots;  // by name
};

Tensor filled_like(const Tensor& t, double value) {
  const Device device = t.device();
  if (device.is_cpu() && value == 0) {
    Tensor out = Tensor::empty(t.shape(), t.dtype());
    std::memset(out.raw(), 0, static_cast<size_t>(out.numel()) * itemsize(out.dtype()));
    return out;
  }
  const Attr place =
      device.is_cpu() ? Attr() : Attr(intern(("cuda:" + std::to_string(device.index)).c_str()));
  return call(def::full, {}, {Attr(t.shape()), Attr(value), Attr(t.dtype()), place});
}

int64_t steps_of(const py::handle& step) {
  return static_cast<int64_t>(step.attr("item")().cast<double>());
}

py::list list_of(Py_ssize_t size) {
  PyObject* const list = PyList_New(size);
  if (!list) throw py::error_already_set();
  return py::reinterpret_steal<py::list>(list);
}

// What lies under a key, or null where there is nothing or None.
PyObject* known_in(PyObject* dict, PyObject* key) {
  PyObject* const known = PyDict_GetItemWithError(dict, key);
  if (!known && PyErr_Occurred()) throw py::error_already_set();
  return known == Py_None ? nullptr : known;
}

// Sorts the parameters that have a gradient into groups, with their named state, which is made where
// it is missing and is entered into `states` by whoever looks there: (parameters without a gradient,
// [(parameters, state by name, steps, first)]). Where `counts` is set, each state holds its number of
// steps as "step". With `first`, parameters whose state is new are told apart.
py::tuple plan_states(const py::sequence& params, const py::dict& states, const py::tuple& names,
                      const py::sequence& fills, bool counts, bool first) {
  static PyObject* const step = PyUnicode_InternFromString("step");
  const GradModeGuard no_grad(false);
  const ObserverPause unseen;  // state that is made once is no part of a captured step
  const size_t n = names.size();
  std::vector<double> starts;
  for (const py::handle& fill : fills) starts.push_back(fill.cast<double>());
  py::list idle;
  std::vector<Group> groups;
  std::vector<PyObject*> known(n);
  for (const py::handle& p : params) {
    ANNX_CHECK(is_tensor(p.ptr()), type, "plan_states", "expected Tensors");
    const Tensor& t = tensor_of(p.ptr());
    autograd::note_grad_use(t);  // that there is none, too
    const autograd::Meta* meta = autograd::meta_of(t);
    if (!meta || !meta->grad.defined()) {
      idle.append(p);
      continue;
    }
    PyObject* const state = n > 0 ? known_in(states.ptr(), p.ptr()) : nullptr;
    for (size_t k = 0; k < n; ++k)
      known[k] = state ? known_in(state, PyTuple_GET_ITEM(names.ptr(), k)) : nullptr;
    PyObject* const taken = state && counts ? known_in(state, step) : nullptr;
    const int64_t count = taken ? steps_of(taken) : 0;
    const bool fresh = first && n > 0 && !known[0];
    Group* group = nullptr;
    for (Group& g : groups)
      if (g.dtype == t.dtype() && g.device == t.device() && g.count == count && g.first == fresh)
        group = &g;
    if (!group) {
      groups.push_back({t.dtype(), t.device(), count, fresh, py::list(), {}});
      group = &groups.back();
      group->slots.resize(n);
    }
    group->params.append(p);
    for (size_t k = 0; k < n; ++k)
      group->slots[k].append(
          known[k] ? py::reinterpret_borrow<py::object>(known[k])
                   : py::reinterpret_steal<py::object>(wrap(filled_like(t, starts[k]))));
  }
  const py::list out = list_of(static_cast<Py_ssize_t>(groups.size()));
  for (size_t g = 0; g < groups.size(); ++g) {
    py::dict slots;
    for (size_t k = 0; k < n; ++k) slots[names[k]] = groups[g].slots[k];
    PyList_SET_ITEM(
        out.ptr(), static_cast<Py_ssize_t>(g),
        py::make_tuple(groups[g].params, slots, groups[g].count, groups[g].first).release().ptr());
  }
  return py::make_tuple(idle, out);
}

// The gradients of parameters; None where one has none.
py::object grads_of(const py::list& params) {
  const Py_ssize_t n = PyList_GET_SIZE(params.ptr());
  py::list out = list_of(n);
  bool all = true;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* const p = PyList_GET_ITEM(params.ptr(), i);
    ANNX_CHECK(is_tensor(p), type, "grads_of", "expected Tensors");
    const Tensor& t = tensor_of(p);
    autograd::note_grad_use(t);
    const autograd::Meta* meta = autograd::meta_of(t);
    all = all && meta && meta->grad.defined();
    if (!all) continue;
    PyObject* const grad = wrap(meta->grad);
    if (!grad) throw py::error_already_set();
    PyList_SET_ITEM(out.ptr(), i, grad);
  }
  return all ? py::object(out) : py::none();
}

}  // namespace

void init_optim(py::module_& m) {
  m.def("write_hyper", write_hyper, "Writes floats into a float64 tensor in place.");
  m.def("hyper_tensor", [](int64_t length) {
    return py::reinterpret_steal<py::object>(wrap(hyper_tensor(length)));
  });
  m.def("state_number",
        [](double value) { return py::reinterpret_steal<py::object>(wrap(state_number(value))); });
  m.def("grads_of", grads_of, "The gradients of parameters, or None where one has none.");
  m.def("plan_states", plan_states, "Makes the state of parameters and sorts them into groups.");
}

}  // namespace annx::python
